"""The port: bytes that may be forgotten at any time, and are never given back when they may be out of date."""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from colonnade.observability.health import HealthState

__all__ = ["CacheStore", "Missed"]


class Missed(NamedTuple):
    """There is nothing to give back; when that was, for whoever now reads what belongs there.

    Numbers of one `epoch` compare; another epoch has forgotten all that was kept before it.
    """

    epoch: str
    sequence: int


class CacheStore(Protocol):
    """Keeps values under keys for a while.

    An entry is tagged with what it was made from. Invalidating a tag makes every entry that carries it unreadable, at a
    cost that does not depend on how many they are, and also those that are being made meanwhile: whoever reads for the
    cache hands back, as `since`, the `Missed` that he got before he read (the leases of Nishtala et al., "Scaling
    Memcache at Facebook", 2013). Nothing here raises when the cache is away: reads miss and writes answer False.
    A change that could not be delivered is delivered before this process reads again; to other processes an entry may
    live on until its time is up, which bounds how long it can be wrong.
    """

    async def get(self, key: str) -> bytes | Missed:
        """What is kept under `key`."""

    async def set(
        self, key: str, value: bytes, seconds: float, *, tags: Collection[str] = (), since: Missed | None = None
    ) -> bool:
        """Keep `value` for `seconds`; whether it is kept.

        It is not when one of `tags` was invalidated after `since`. Tags are short and have no spaces.
        """

    async def delete(self, key: str) -> bool:
        """Forget `key`; whether that is certain by now."""

    async def invalidate(self, tags: Collection[str]) -> bool:
        """Forget every entry that has one of `tags`; whether that is certain by now."""

    def health(self) -> Sequence[HealthState]:
        """What hinders it."""
