"""Caches in Valkey servers, for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from colonnade.caching.valkey import ValkeyCache
from colonnade.world import real_world

__all__ = ["WITHIN_SECONDS", "running_cache", "well"]

WITHIN_SECONDS = 20.0
_WORLD = real_world()


@asynccontextmanager
async def running_cache(url: str, system: str | None = None) -> AsyncIterator[ValkeyCache]:
    """A cache at work, with keys of its own unless they are another's too."""
    cache = ValkeyCache(url, system or uuid4().hex, _WORLD)
    running = asyncio.create_task(cache.run())
    try:
        await well(cache)
        yield cache
    finally:
        running.cancel()
        await asyncio.wait([running])


async def well(cache: ValkeyCache) -> None:
    """Wait until nothing hinders it."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while cache.health():
            await _WORLD.sleep(0.01)
