"""A store that was promoted or restored is in another history, and whoever remembers the old one is told."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from colonnade.observability.health import Severity
from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.postgres import PostgresStore, notices, open_postgres_store
from colonnade.persistence.postgres.histories import HistoryEnded
from colonnade.persistence.reads import RequiredPosition
from colonnade.persistence.store import Store
from colonnade.persistence.unit import Append, Effect, NewEvent, Publish, Unit
from colonnade.presentation.problems import Problem
from colonnade.presentation.tokens import brought_forward
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.world import real_world
from tests.servers.pairs import own_pair

WORLD = real_world()


async def record(store: Store, stream: str) -> int:
    """Append the first event of a stream and publish a message; the position of the event."""
    new = WORLD.ids.new
    happened = NewEvent(new(), "Happened", 1, b"{}")
    effects: list[Effect] = [Append(stream, 0, [happened]), Publish("topic", stream, new(), b"{}")]
    return (await store.commit(Unit(WORLD.clock.micros(), new(), effects=effects))).position


async def histories(url: str) -> list[tuple[UUID, int]]:
    """The histories that ended, as the database has them."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch("SELECT history, shared FROM histories ORDER BY number")]
    finally:
        await connection.close()


async def test_a_promoted_store_is_in_another_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is begun once, shares what the standby had, and a process that remembers more can do nothing any more."""
    monkeypatch.setattr(notices, "LOOK_SECONDS", 0.05)
    async with own_pair() as pair:
        url = pair.either((await pair.database())[0])
        store = await open_postgres_store(url, WORLD)
        again: list[PostgresStore] = []
        try:
            first, kept = store.history, await record(store, "Kept/1")
            await pair.cut()
            lost = await record(store, "Lost/1")
            assert await store.log.end() == lost
            await pair.primary.kill()
            with pytest.raises(StoreFailed):
                await record(store, "Lost/2")
            assert store.health("tabs") == []
            await pair.second.promote()

            with pytest.raises(HistoryEnded, match="start it anew"):
                await record(store, "Lost/3")
            (state,) = store.health("tabs")
            assert (state.name, state.severity) == ("tabs.history", Severity.FATAL)

            again = [*await asyncio.gather(*(open_postgres_store(url, WORLD) for _ in range(4)))]
            (present,) = {each.history for each in again}
            assert present != first
            (shared,) = {each.ended[first] for each in again}
            assert kept <= shared < lost
            assert await histories(url) == [(first, shared)]
            assert await again[0].log.end() == kept
            after = await record(again[0], "Kept/2")
            assert after > shared
            assert [event.stream for event in await again[1].log.read()] == ["Kept/1", "Kept/2"]
        finally:
            for each in (store, *again):
                await each.close()
        # Nothing has happened since
        store = await open_postgres_store(url, WORLD)
        assert (store.history, dict(store.ended)) == (present, {first: shared})
        await store.close()


async def test_a_restored_store_is_in_another_history(postgres: PostgresServer, tmp_path: Path) -> None:
    """Each copy goes its own way from what both have; what a later restore has cut off is shared with none before."""
    name = f"tabs_{uuid4().hex}"
    url, copy = await postgres.create_database(name), await postgres.create_database(f"{name}_copy", name)
    store = await open_postgres_store(url, WORLD)
    first, kept = store.history, await record(store, "Kept/1")
    dump = await dumped(postgres, url)
    await record(store, "Lost/1")
    await store.close()
    await restored(postgres, dump, copy)
    store = await open_postgres_store(copy, WORLD)
    second, shared = store.history, store.ended[first]
    assert kept <= shared
    for number in range(3):
        await record(store, f"Other/{number}")
    await store.close()
    again = await postgres.create_database(f"{name}_again", name)
    await restored(postgres, dump, again)
    store = await open_postgres_store(again, WORLD)
    assert store.history not in (first, second)
    assert dict(store.ended) == {first: shared}
    await store.close()
    store = await open_postgres_store(url, WORLD)
    assert (store.history, dict(store.ended)) == (first, {})
    await store.close()


async def dumped(postgres: PostgresServer, url: str) -> Path:
    """A dump of a database."""
    dump = postgres.data.parent / f"{uuid4().hex}.dump"
    await postgres.run("pg_dump", "--format=custom", f"--file={dump}", url)
    return dump


async def restored(postgres: PostgresServer, dump: Path, url: str) -> None:
    """Restore a dump into an empty database."""
    await postgres.run("pg_restore", f"--dbname={url}", str(dump))


def test_a_token_of_a_history_before_is_brought_forward() -> None:
    """What both have is asked for in the present one; what was lost is refused; strangers say nothing."""
    present, before, stranger = UUID(int=1), UUID(int=2), UUID(int=3)
    ended = {before: 7}
    for history, position, meant in [(present, 9, present), (before, 7, present), (stranger, 9, stranger)]:
        required = RequiredPosition("tabs", history, position)
        assert brought_forward(required, "tabs", present, ended) == RequiredPosition("tabs", meant, position)
    assert brought_forward(RequiredPosition("bar", before, 9), "tabs", present, ended).history == before
    with pytest.raises(Problem, match="seen of tabs after 7 was lost") as refused:
        brought_forward(RequiredPosition("tabs", before, 8), "tabs", present, ended)
    assert refused.value.status == 409
