"""Values of a configuration that lies elsewhere."""

import asyncio
from dataclasses import replace

import pytest

from colonnade.caching import CacheStore, MemoryCache
from colonnade.caching.configuration import ConfigurationCache, SourceAway
from colonnade.world import real_world
from tests.caching.clocks import SetClock

_WORLD = real_world()


class Source:
    """A configuration that can be away."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {"limit": b"10"}
        self.away = False
        self.reads = 0

    async def read(self, name: str) -> bytes | None:
        """The value of that name."""
        self.reads += 1
        await asyncio.sleep(0)
        if self.away:
            raise SourceAway(name, "connection refused")
        return self.values.get(name)


async def test_a_value_is_read_once_for_all(cache: CacheStore) -> None:
    """However many ask, in however many processes, the source is asked once; also for what is not there."""
    source = Source()
    one, other = ConfigurationCache(source, cache, _WORLD), ConfigurationCache(source, cache, _WORLD)
    assert set(await asyncio.gather(*(one.value("limit") for _ in range(10)))) == {b"10"}
    assert await other.value("limit") == b"10"
    assert source.reads == 1
    assert [await one.value("unset"), await other.value("unset")] == [None, None]
    assert source.reads == 2


async def test_the_last_known_value_is_used_while_the_source_is_away() -> None:
    """A value outlives its time when it cannot be read anew, and health names it until it can."""
    clock, source = SetClock(), Source()
    world = replace(_WORLD, clock=clock)
    values = ConfigurationCache(source, MemoryCache(clock), world, seconds=30)
    assert await values.value("limit") == b"10"
    source.away, source.values["limit"] = True, b"20"
    clock.advance(31)
    assert await values.value("limit") == b"10"
    assert await values.value("limit") == b"10"
    assert source.reads == 2, "a source that is away is not asked by every caller"
    (state,) = values.health()
    assert state.name == "configuration.limit"
    assert "last known" in state.detail
    source.away = False
    clock.advance(2)
    assert await values.value("limit") == b"20"
    assert not values.health()


async def test_a_value_that_was_never_read_is_an_error(cache: CacheStore) -> None:
    """Nothing is made up: without a last known value the error names the value and the reason."""
    source = Source()
    source.away = True
    values = ConfigurationCache(source, cache, _WORLD)
    with pytest.raises(SourceAway, match=r"limit .* connection refused"):
        await values.value("limit")
