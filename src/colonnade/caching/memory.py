"""The cache inside one process."""

from collections import OrderedDict
from collections.abc import Collection, Sequence

import msgspec

from colonnade.caching.cache import Missed
from colonnade.observability.health import HealthState
from colonnade.world import Clock

__all__ = ["MemoryCache"]

BYTES_KEPT = 32 * 1024 * 1024
"""How much is kept, unless told; what was used longest ago goes first."""

ENTRY_OVERHEAD_BYTES = 400
"""About what an entry weighs besides its key and value, so that many small ones are bounded too."""

_EPOCH = "memory"


class _Entry(msgspec.Struct, gc=False):
    value: bytes
    expires: float
    since: int
    tags: tuple[str, ...]
    weight: int


class _Tag(msgspec.Struct, gc=False):
    """When a tag was last invalidated, and how many entries carry it: without any it is forgotten."""

    invalidated: int
    entries: int = 0


class MemoryCache:
    """Keeps up to `limit_bytes`, what was used last the longest; times by the monotonic clock."""

    def __init__(self, clock: Clock, limit_bytes: int = BYTES_KEPT) -> None:
        self._monotonic = clock.monotonic
        self._limit = limit_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._tags: dict[str, _Tag] = {}
        self._sequence = 0
        self._bytes = 0

    async def get(self, key: str) -> bytes | Missed:
        """What is kept under `key`."""
        entry = self._entries.get(key)
        if entry is not None:
            if entry.expires > self._monotonic() and self._holds(entry.tags, entry.since):
                self._entries.move_to_end(key)
                return entry.value
            self._remove(key)
        return Missed(_EPOCH, self._sequence)

    async def set(
        self, key: str, value: bytes, seconds: float, *, tags: Collection[str] = (), since: Missed | None = None
    ) -> bool:
        """Keep `value` for `seconds`; whether it is kept."""
        before = self._sequence if since is None else since.sequence
        self._remove(key)
        weight = len(key) + len(value) + ENTRY_OVERHEAD_BYTES
        if weight > self._limit or (before < self._sequence and not self._known_to_hold(tags, before)):
            return False
        for tag in tags:
            self._tags.setdefault(tag, _Tag(before)).entries += 1
        self._entries[key] = _Entry(value, self._monotonic() + seconds, before, tuple(tags), weight)
        self._bytes += weight
        while self._bytes > self._limit:
            self._remove(next(iter(self._entries)))
        return True

    async def delete(self, key: str) -> bool:
        """Forget `key`."""
        self._remove(key)
        return True

    async def invalidate(self, tags: Collection[str]) -> bool:
        """Forget every entry that has one of `tags`."""
        self._sequence += 1
        for tag in tags:
            known = self._tags.get(tag)
            if known is not None:
                known.invalidated = self._sequence
        return True

    def health(self) -> Sequence[HealthState]:
        """Nothing hinders it."""
        return ()

    def _holds(self, tags: Sequence[str], since: int) -> bool:
        return all(self._tags[tag].invalidated <= since for tag in tags)

    def _known_to_hold(self, tags: Collection[str], since: int) -> bool:
        # Of a tag that no entry carried nobody remembers whether it was invalidated meanwhile
        return all((known := self._tags.get(tag)) is not None and known.invalidated <= since for tag in tags)

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._bytes -= entry.weight
        for tag in entry.tags:
            known = self._tags[tag]
            known.entries -= 1
            if not known.entries:
                del self._tags[tag]
