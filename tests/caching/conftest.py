"""Both caches, for tests of what stands on them."""

from collections.abc import AsyncIterator

import pytest

from colonnade.caching import CacheStore, MemoryCache
from colonnade.system.hosts.servers.valkey import ValkeyServer
from colonnade.world import real_world
from tests.caching.valkeys import running_cache


@pytest.fixture(params=["memory", "valkey"])
async def cache(request: pytest.FixtureRequest, valkey: ValkeyServer) -> AsyncIterator[CacheStore]:
    """An empty cache, in memory and in Valkey."""
    if request.param == "memory":
        yield MemoryCache(real_world().clock)
    else:
        async with running_cache(valkey.url) as cache:
            yield cache
