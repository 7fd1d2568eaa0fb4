"""Telling what stands before the services, a CDN or a proxy, which of the pages that it keeps are out of date."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

from colonnade.observability.health import HealthState, Severity
from colonnade.observability.logs import get_logger
from colonnade.world import World

__all__ = ["Purge", "PurgeFailed", "PurgeQueue"]

SHORTEST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 10.0

_log = get_logger()


class PurgeFailed(Exception):
    """What keeps the pages did not take the order to forget some."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.where, self.reason = where, reason

    def __str__(self) -> str:
        return f"{self.where} did not purge: {self.reason}."


class Purge(Protocol):
    """Lets pages be forgotten by their surrogate keys, wherever they are kept."""

    async def purge(self, keys: Collection[str]) -> None:
        """Forget every page that has one of `keys`; raises `PurgeFailed`."""


class PurgeQueue:
    """Hands on what has changed, what came meanwhile together, again and again until it is taken; `run` must run.

    What has not been handed on when the process dies is out of date there until its `max-age` has passed, and so is a
    page that was on its way while it was purged.
    """

    def __init__(self, purge: Purge, world: World) -> None:
        self._purge = purge
        self._world = world
        self._keys: dict[str, None] = {}
        self._added = asyncio.Event()
        self._failed: PurgeFailed | None = None

    def add(self, keys: Collection[str]) -> None:
        """Let the pages with one of `keys` be forgotten soon."""
        self._keys.update(dict.fromkeys(keys))
        self._added.set()

    def health(self) -> Sequence[HealthState]:
        """Whether pages that are out of date may be shown."""
        if self._failed is None:
            return ()
        detail = f"{self._failed} Pages made from {len(self._keys)} tables may be out of date until their time is up."
        return (HealthState("purging", Severity.DEGRADED, detail),)

    async def run(self) -> None:
        """Purge until cancelled."""
        wait = SHORTEST_WAIT_SECONDS
        while True:
            await self._added.wait()
            self._added.clear()
            keys, self._keys = self._keys, {}
            try:
                await self._purge.purge(keys)
            except PurgeFailed as failed:
                if self._failed is None:
                    _log.warning("purge failed", where=failed.where, reason=failed.reason, keys=len(keys))
                self._failed = failed
                self.add(keys)
                await self._world.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT_SECONDS)
            else:
                self._failed, wait = None, SHORTEST_WAIT_SECONDS
