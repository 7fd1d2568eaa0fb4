"""NATS from its wheel."""

from pathlib import Path

import nats
import pytest

from colonnade.system.hosts.servers import nats as module
from colonnade.system.hosts.servers.child import ServerFailed
from colonnade.system.hosts.servers.nats import NatsServer, nats_server
from colonnade.world import real_world
from tests.servers.starters import ends_with_its_starter

WORLD = real_world()


async def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    """Killed with -9 and started again it has the stream and its message, at the same address."""
    async with nats_server(tmp_path, WORLD) as server:
        client = await nats.connect(server.url, allow_reconnect=False)
        stream = client.jetstream()
        await stream.add_stream(name="shop", subjects=["shop.>"])
        await stream.publish("shop.orders", b"one")
        await server.kill()
        assert not server.is_running
        await server.start()
        again = await nats.connect(server.url)
        assert (await again.jetstream().get_msg("shop", 1)).data == b"one"
        await again.close()
        await client.close()


async def test_it_takes_messages_at_once(nats: NatsServer) -> None:
    """Started means that JetStream is there, in its own folder."""
    assert await nats.answers()
    assert nats.url == f"nats://127.0.0.1:{nats.port}"


async def test_another_server_on_its_port_is_not_taken_for_it(tmp_path: Path, nats: NatsServer) -> None:
    """A server is known by its name."""
    assert not await NatsServer(tmp_path, WORLD, port=nats.port, sync_interval="2m").answers()


async def test_a_setting_that_it_does_not_know_is_told(tmp_path: Path) -> None:
    """With the end of its log, as for every server."""
    with pytest.raises(ServerFailed, match=r"(?s)NATS failed: it ended before it was ready.*sync_interval|often"):
        async with nats_server(tmp_path, WORLD, sync_interval="often"):
            pass


async def test_every_message_is_synced_when_asked(tmp_path: Path) -> None:
    """`sync_interval: always` is understood."""
    async with nats_server(tmp_path, WORLD, sync_interval="always") as server:
        assert server.is_running
    assert not server.is_running


def test_nothing_is_left_when_its_starter_is_killed(tmp_path: Path) -> None:
    """The server ends with it."""
    assert ends_with_its_starter(module.__name__, "nats_server", tmp_path)
