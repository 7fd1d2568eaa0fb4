"""Valkey from its wheel."""

from pathlib import Path

from redis.asyncio import Redis

from colonnade.system.hosts.servers import valkey as module
from colonnade.system.hosts.servers.valkey import ValkeyServer, valkey_server
from colonnade.world import real_world
from tests.servers.starters import ends_with_its_starter

WORLD = real_world()


async def test_after_a_kill_it_is_there_again_and_empty(tmp_path: Path) -> None:
    """It is a cache: same address, nothing kept."""
    async with valkey_server(tmp_path, WORLD) as server:
        async with Redis.from_url(server.url) as client:
            await client.set("key", b"value")
            assert await client.get("key") == b"value"
        await server.kill()
        assert not server.is_running
        await server.start()
        async with Redis.from_url(server.url) as client:
            assert await client.get("key") is None


async def test_it_keeps_its_data_when_asked(tmp_path: Path) -> None:
    """With an append-only file, synced at each write, what was acknowledged outlives a kill."""
    settings = {"appendonly": "yes", "appendfsync": "always"}
    async with valkey_server(tmp_path, WORLD, settings=settings) as server:
        async with Redis.from_url(server.url) as client:
            await client.set("key", b"value")
        await server.kill()
        await server.start()
        async with Redis.from_url(server.url) as client:
            assert await client.get("key") == b"value"


async def test_another_server_on_its_port_is_not_taken_for_it(tmp_path: Path, valkey: ValkeyServer) -> None:
    """A server is known by its process."""
    assert await valkey.answers()
    assert not await ValkeyServer(tmp_path, WORLD, port=valkey.port, settings={}).answers()


def test_nothing_is_left_when_its_starter_is_killed(tmp_path: Path) -> None:
    """The server ends with it."""
    assert ends_with_its_starter(module.__name__, "valkey_server", tmp_path)
