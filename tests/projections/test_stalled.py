"""A writer that stalls before its lock takes the horizon back below what has been projected."""

from colonnade.system.hosts.servers.postgresql import PostgresServer
from tests.persistence.stalling import stalled_at

from .desk import Opened, Served, desk
from .homes import on_server


async def test_what_has_been_projected_is_not_projected_again(postgres: PostgresServer) -> None:
    """The projection waits where it is, and goes on from there when the horizon does."""
    async with desk(on_server(postgres.url())) as d:
        opened = await d.record("Tab/1", Opened("Anna"))
        await d.record("Tab/1", Served(500))
        await d.caught_up()
        async with stalled_at(postgres.url(), d.store, opened):
            last = await d.record("Tab/1", Served(30))
            await d.caught_up()
        await d.caught_up()
        assert await d.rows() == [("Tab/1", "Anna", 530, 2, "open", last)]
