"""Values of a configuration that lies elsewhere: asked for seldom, and still known when it cannot be asked."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from colonnade.caching.cache import CacheStore, Missed
from colonnade.observability.health import HealthState, Severity
from colonnade.world import World

__all__ = ["ConfigurationCache", "ConfigurationSource", "SourceAway"]

FRESH_SECONDS = 30.0
ASKED_AGAIN_SECONDS = 1.0
"""A source that is away is not asked more often than this for one value."""


class SourceAway(Exception):
    """Where the configuration lies cannot be asked."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"The configuration {self.name} cannot be read: {self.reason}; it was never read before."


class ConfigurationSource(Protocol):
    """Where a configuration lies."""

    async def read(self, name: str) -> bytes | None:
        """The value of that name, None where there is none; raises `SourceAway`."""


class _Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    value: bytes | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Value).decode


class ConfigurationCache:
    """Reads values through `store`, so that all processes ask the source once in `seconds`.

    A value that was read once stays known in this process: it is given on while the source is away, and health says so.
    """

    def __init__(
        self, source: ConfigurationSource, store: CacheStore, world: World, *, seconds: float = FRESH_SECONDS
    ) -> None:
        self._source = source
        self._store = store
        self._monotonic = world.clock.monotonic
        self._seconds = seconds
        self._known: dict[str, bytes | None] = {}
        self._away: dict[str, tuple[SourceAway, float]] = {}
        self._reading: dict[str, asyncio.Lock] = {}

    async def value(self, name: str) -> bytes | None:
        """The value of that name, None where there is none; raises `SourceAway` for one that was never read."""
        async with self._reading.setdefault(name, asyncio.Lock()):
            found = await self._store.get(f"configuration:{name}")
            if not isinstance(found, Missed):
                self._away.pop(name, None)
                return self._learnt(name, _decode(found).value)
            away = self._away.get(name)
            if away is None or self._monotonic() >= away[1]:
                try:
                    value = await self._source.read(name)
                except SourceAway as error:
                    away = self._away[name] = (error, self._monotonic() + ASKED_AGAIN_SECONDS)
                else:
                    self._away.pop(name, None)
                    await self._store.set(f"configuration:{name}", _encode(_Value(value)), self._seconds, since=found)
                    return self._learnt(name, value)
            if name not in self._known:
                raise away[0]
            return self._known[name]

    def health(self) -> Sequence[HealthState]:
        """Which values may be out of date."""
        return [
            HealthState(
                f"configuration.{name}",
                Severity.DEGRADED,
                f"{name} cannot be read ({error.reason}); "
                + ("its last known value is used." if name in self._known else "it was never read."),
            )
            for name, (error, _) in sorted(self._away.items())
        ]

    def _learnt(self, name: str, value: bytes | None) -> bytes | None:
        self._known[name] = value
        return value
