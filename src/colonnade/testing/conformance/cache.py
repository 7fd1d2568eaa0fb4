"""What every cache promises: inherit, say how one is run, and pytest does the rest."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from colonnade.caching.cache import CacheStore, Missed
from colonnade.world import real_world

__all__ = ["CacheConformance", "missed"]

WITHIN_SECONDS = 10.0
MINUTE = 60.0

_Step = tuple[str, str, frozenset[str]]

_WORLD = real_world()
_KEYS = st.sampled_from(["a", "b", "c"])
_TAGS = st.frozensets(st.sampled_from(["red", "green"]))
_STEPS = st.one_of(
    st.tuples(st.just("ask"), _KEYS, _TAGS),
    st.tuples(st.just("keep"), _KEYS, _TAGS),
    st.tuples(st.just("delete"), _KEYS, _TAGS),
    st.tuples(st.just("invalidate"), _KEYS, _TAGS),
)


async def missed(cache: CacheStore, key: str) -> Missed:
    """That nothing is found under `key`."""
    found = await cache.get(key)
    assert isinstance(found, Missed), f"{key} should not be there"
    return found


class CacheConformance(ABC):
    """The suite. Adapters may forget anything when they run out of room, but not in these few steps."""

    @abstractmethod
    def running_cache(self) -> AbstractAsyncContextManager[CacheStore]:
        """An empty cache that is well."""

    async def test_what_is_kept_is_found_unchanged(self) -> None:
        """Bytes come back as they were, whatever they are; the newest ones of a key."""
        async with self.running_cache() as cache:
            for value in (b"", b"\x00\n\r\n \xff", b"x" * 100_000):
                assert await cache.set("key", value, MINUTE, tags=["tag"])
                assert await cache.get("key") == value
            await missed(cache, "another")
            assert not cache.health()

    async def test_what_is_deleted_is_gone(self) -> None:
        """A deleted key is not found, others are."""
        async with self.running_cache() as cache:
            await cache.set("a", b"1", MINUTE)
            await cache.set("b", b"2", MINUTE)
            assert await cache.delete("a")
            await missed(cache, "a")
            assert await cache.get("b") == b"2"

    async def test_it_forgets_in_time(self) -> None:
        """An entry is gone once its time is up, not before."""
        async with self.running_cache() as cache:
            await cache.set("soon", b"1", 0.02)
            await cache.set("late", b"2", MINUTE)
            async with asyncio.timeout(WITHIN_SECONDS):
                while not isinstance(await cache.get("soon"), Missed):
                    await _WORLD.sleep(0.005)
            assert await cache.get("late") == b"2"

    async def test_a_tag_takes_all_its_entries_along(self) -> None:
        """Every entry that carries an invalidated tag is gone, and no other."""
        async with self.running_cache() as cache:
            await cache.set("a", b"1", MINUTE, tags=["red", "green"])
            await cache.set("b", b"2", MINUTE, tags=["green"])
            await cache.set("c", b"3", MINUTE, tags=["blue"])
            await cache.set("d", b"4", MINUTE)
            assert await cache.invalidate(["green", "unheard-of"])
            await missed(cache, "a")
            await missed(cache, "b")
            assert (await cache.get("c"), await cache.get("d")) == (b"3", b"4")

    async def test_what_was_read_before_an_invalidation_is_not_kept(self) -> None:
        """A slow reader, who comes with what is out of date meanwhile, is turned away."""
        async with self.running_cache() as cache:
            since = await missed(cache, "a")
            await cache.invalidate(["red"])
            assert not await cache.set("a", b"old", MINUTE, tags=["red"], since=since)
            since = await missed(cache, "a")
            assert await cache.set("a", b"new", MINUTE, tags=["red"], since=since)
            assert await cache.get("a") == b"new"

    async def test_a_slow_reader_does_not_undo_a_newer_one(self) -> None:
        """With the tag in use by a newer entry, the old value is turned away all the same."""
        async with self.running_cache() as cache:
            since = await missed(cache, "a")
            await cache.invalidate(["red"])
            assert await cache.set("b", b"new", MINUTE, tags=["red"], since=await missed(cache, "b"))
            assert not await cache.set("a", b"old", MINUTE, tags=["red"], since=since)
            await missed(cache, "a")

    async def test_other_tags_keep_nobody_out(self) -> None:
        """An entry whose tags are in use is kept though others were invalidated while it was read."""
        async with self.running_cache() as cache:
            await cache.set("first", b"1", MINUTE, tags=["red"])
            since = await missed(cache, "a")
            await cache.invalidate(["green"])
            assert await cache.set("a", b"1", MINUTE, tags=["red"], since=since)
            assert await cache.get("a") == b"1"

    def test_nothing_out_of_date_is_ever_found(self) -> None:
        """Whatever happens in whatever order, what is found is the newest value kept, made after the last change."""
        with asyncio.Runner() as runner:
            running = self.running_cache()
            cache = runner.run(running.__aenter__())
            runs = count()

            @settings(max_examples=40, deadline=None)
            @given(st.lists(_STEPS, min_size=1, max_size=25))
            def law(steps: list[_Step]) -> None:
                runner.run(_law(cache, f"{next(runs)}", steps))

            try:
                law()
            finally:
                runner.run(running.__aexit__(None, None, None))


async def _law(cache: CacheStore, run: str, steps: list[_Step]) -> None:
    """Each value is made of the versions of its tags when its reader began; found ones are of the newest."""
    versions = {"red": 0, "green": 0}
    asked: dict[str, tuple[Missed, dict[str, int]]] = {}
    for what, key, tags in steps:
        named = f"{run}.{key}"
        if what == "invalidate":
            for tag in tags:
                versions[tag] += 1
            await cache.invalidate([f"{run}.{tag}" for tag in tags])
        elif what == "delete":
            await cache.delete(named)
            await missed(cache, named)
        elif what == "ask":
            found = await cache.get(named)
            if isinstance(found, Missed):
                asked[key] = (found, dict(versions))
            else:
                for made in found.decode().split():
                    tag, version = made.split("=")
                    assert versions[tag] == int(version), f"{named} was made of {made}, {tag} is at {versions[tag]}"
        elif key in asked:
            since, seen = asked[key]
            value = " ".join(f"{tag}={seen[tag]}" for tag in tags).encode()
            kept = await cache.set(named, value, MINUTE, tags=[f"{run}.{tag}" for tag in tags], since=since)
            if kept:
                assert await cache.get(named) == value
