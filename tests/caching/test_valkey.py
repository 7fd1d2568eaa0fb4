"""The cache in a Valkey server, which may be killed, cut off, emptied and restored from its disk."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from colonnade.caching import CacheStore, Missed
from colonnade.caching.valkey import REMEMBERED, ValkeyCache
from colonnade.system.hosts.servers.valkey import ValkeyServer, valkey_server
from colonnade.testing.conformance.cache import CacheConformance, missed
from colonnade.world import real_world
from tests.caching.cutting import Cut, cuttable
from tests.caching.valkeys import WITHIN_SECONDS, running_cache, well

_WORLD = real_world()


class TestValkeyCache(CacheConformance):
    """What every cache promises, of this one."""

    @pytest.fixture(autouse=True)
    def use(self, valkey: ValkeyServer) -> None:
        """Take the server that all tests share."""
        self._url = valkey.url

    def running_cache(self) -> AbstractAsyncContextManager[CacheStore]:
        return running_cache(self._url)


async def test_processes_share_what_is_kept(valkey: ValkeyServer) -> None:
    """What one keeps the other finds; what one invalidates the other does not find."""
    async with running_cache(valkey.url, "shared") as one, running_cache(valkey.url, "shared") as other:
        await one.set("a", b"1", 60, tags=["red"])
        assert await other.get("a") == b"1"
        await other.invalidate(["red"])
        await missed(one, "a")
        since = await missed(other, "a")
        await one.invalidate(["red"])
        assert not await other.set("a", b"old", 60, tags=["red"], since=since)


async def test_systems_do_not_share(valkey: ValkeyServer) -> None:
    """Another system on the same server finds nothing."""
    async with running_cache(valkey.url) as one, running_cache(valkey.url) as other:
        await one.set("a", b"1", 60)
        await missed(other, "a")


async def test_without_its_server_it_misses_at_once_and_says_so(tmp_path: Path) -> None:
    """Killed with -9, its server costs nobody more than a miss; a state names it until it is back."""
    async with valkey_server(tmp_path, _WORLD) as server, running_cache(server.url) as cache:
        await cache.set("a", b"1", 60)
        await server.child.kill()
        await missed(cache, "a")
        assert not await cache.set("a", b"2", 60)
        assert not await cache.delete("a")
        assert not await cache.invalidate(["red"])
        (state,) = cache.health()
        assert state.name == "cache"
        assert "away" in state.detail
        await server.start()
        await well(cache)
        assert await cache.set("a", b"3", 60)
        assert await cache.get("a") == b"3"


async def test_what_a_server_brings_back_from_its_disk_is_not_found(tmp_path: Path) -> None:
    """An entry that was invalidated after the snapshot does not rise again with it."""
    async with valkey_server(tmp_path, _WORLD) as server, running_cache(server.url, "s") as cache:
        await cache.set("a", b"old", 60, tags=["red"])
        async with Redis.from_url(server.url) as operator:
            await operator.save()
        await cache.invalidate(["red"])
        await server.child.kill()
        await server.start()
        async with Redis.from_url(server.url) as operator:
            assert await operator.dbsize() > 0, "the snapshot was not restored"
        await well(cache)
        await missed(cache, "a")


async def test_an_undelivered_change_is_delivered_before_anything_is_read(valkey: ValkeyServer) -> None:
    """Cut off while tables change, it finds nothing old when it is connected again, nor does anybody else."""
    async with (
        cuttable(valkey) as cut,
        running_cache(cut.url, "cut") as cache,
        running_cache(valkey.url, "cut") as other,
    ):
        await other.set("tagged", b"old", 60, tags=["red"])
        await other.set("deleted", b"old", 60)
        await other.set("written", b"old", 60)
        await other.set("another", b"1", 60, tags=["green"])
        await lost(cut, cache)
        assert not await cache.invalidate(["red"])
        assert not await cache.delete("deleted")
        assert not await cache.set("written", b"new", 60)
        assert await other.get("tagged") == b"old"
        cut.mend()
        await well(cache)
        for key in ("tagged", "deleted", "written"):
            await missed(cache, key)
            await missed(other, key)
        assert await cache.get("another") == b"1"


async def test_too_many_undelivered_changes_forget_everything(valkey: ValkeyServer) -> None:
    """What it cannot remember one by one it makes good by forgetting all."""
    async with cuttable(valkey) as cut, running_cache(cut.url) as cache:
        await cache.set("a", b"old", 60, tags=["red"])
        await cache.set("b", b"old", 60)
        await lost(cut, cache)
        await cache.invalidate([f"tag-{number}" for number in range(REMEMBERED)])
        await cache.invalidate(["red"])
        cut.mend()
        await well(cache)
        await missed(cache, "a")
        await missed(cache, "b")


async def test_a_server_that_hangs_is_away(valkey: ValkeyServer) -> None:
    """A server that takes questions and gives no answers delays one caller for a moment, then nobody."""
    async with cuttable(valkey) as cut, running_cache(cut.url) as cache:
        await cache.set("a", b"1", 60)
        cut.hang()
        await missed(cache, "a")
        assert "no answer" in cache.health()[0].detail
        cut.mend()
        await well(cache)
        assert await cache.get("a") == b"1"


async def test_an_emptied_server_brings_nothing_old_back(valkey: ValkeyServer) -> None:
    """After FLUSHALL its counting begins above all that it ever counted: who read before is turned away or invalid."""
    async with running_cache(valkey.url) as cache:
        since = await missed(cache, "a")
        async with Redis.from_url(valkey.url) as operator:
            await operator.flushall()
        await cache.invalidate(["red"])
        assert not await cache.set("a", b"old", 60, tags=["red"], since=since)
        await missed(cache, "a")
        assert await cache.set("a", b"new", 60, tags=["red"], since=await missed(cache, "a"))
        assert await cache.get("a") == b"new"


async def test_an_entry_whose_tag_was_pushed_out_is_not_found(valkey: ValkeyServer) -> None:
    """A server short of memory may drop the tag and keep the entry: nobody says then that it still holds."""
    async with running_cache(valkey.url, "pushed") as cache:
        await cache.set("a", b"1", 60, tags=["red"])
        async with Redis.from_url(valkey.url) as operator:
            (tag,) = [key async for key in operator.scan_iter("pushed:*:t:red")]
            await operator.delete(tag)
        await missed(cache, "a")


async def test_a_full_server_is_not_away(tmp_path: Path) -> None:
    """Where there is no room nothing more is kept; what is there is found, and deleted."""
    full = {"maxmemory": "3mb", "maxmemory-policy": "noeviction"}
    async with valkey_server(tmp_path, _WORLD, settings=full) as server, running_cache(server.url) as cache:
        kept = 0
        while await cache.set(f"{kept}", b"x" * 50_000, 60):
            kept += 1
        assert kept
        assert not cache.health()
        assert await cache.get("0") == b"x" * 50_000
        assert await cache.delete("0")
        await missed(cache, "0")


async def test_callers_who_go_away_harm_nobody(valkey: ValkeyServer) -> None:
    """Cancelled questions leave the answers of others where they belong."""
    async with running_cache(valkey.url) as cache:
        for number in range(20):
            await cache.set(f"{number}", f"{number}".encode(), 60)
        leaving = [asyncio.create_task(cache.get(f"{number}")) for number in range(20)]
        staying = [asyncio.create_task(cache.get(f"{number}")) for number in range(20)]
        await asyncio.sleep(0)
        for task in leaving[::2]:
            task.cancel()
        assert await asyncio.gather(*staying) == [f"{number}".encode() for number in range(20)]
        await asyncio.gather(*leaving, return_exceptions=True)
        assert not cache.health()


async def lost(cut: Cut, cache: ValkeyCache) -> None:
    """Cut the connection, and wait until the cache has noticed."""
    cut.cut()
    async with asyncio.timeout(WITHIN_SECONDS):
        while not cache.health():
            assert isinstance(await cache.get("whatever"), Missed)
            await _WORLD.sleep(0.01)
