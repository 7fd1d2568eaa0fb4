"""The cache inside one process."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from colonnade.caching import CacheStore, MemoryCache
from colonnade.testing.conformance.cache import CacheConformance, missed
from colonnade.world import real_world


class TestMemoryCache(CacheConformance):
    """What every cache promises, of this one."""

    def running_cache(self) -> AbstractAsyncContextManager[CacheStore]:
        return _running()


@asynccontextmanager
async def _running() -> AsyncIterator[CacheStore]:
    yield MemoryCache(real_world().clock)


async def test_what_was_used_longest_ago_goes_first() -> None:
    """Beyond its bound it forgets entries, those that nobody asks for before the others."""
    cache = MemoryCache(real_world().clock, limit_bytes=3_000)
    for key in ("a", "b", "c"):
        await cache.set(key, b"x" * 500, 60)
    assert isinstance(await cache.get("a"), bytes)
    await cache.set("d", b"x" * 500, 60)
    await missed(cache, "b")
    assert isinstance(await cache.get("a"), bytes)
    assert isinstance(await cache.get("d"), bytes)


async def test_what_is_larger_than_all_its_room_is_not_kept() -> None:
    """One entry cannot push out all others in vain."""
    cache = MemoryCache(real_world().clock, limit_bytes=3_000)
    await cache.set("a", b"x", 60)
    assert not await cache.set("b", b"x" * 3_000, 60)
    assert await cache.get("a") == b"x"


async def test_its_tags_are_bounded_too() -> None:
    """A tag is forgotten with the last entry that carries it."""
    cache = MemoryCache(real_world().clock, limit_bytes=3_000)
    for number in range(1_000):
        await cache.set(f"{number}", b"x" * 500, 60, tags=[f"tag-{number}"])
        await cache.invalidate([f"other-{number}"])
    assert len(cache._tags) < 5
