"""A part of a cache that nobody else sees: keys and tags that begin with its name."""

from collections.abc import Collection, Sequence

from colonnade.caching.cache import CacheStore, Missed
from colonnade.observability.health import HealthState

__all__ = ["NamespacedCache"]


class NamespacedCache:
    """What is kept as `name`, which has neither slashes nor spaces, only `name` finds or forgets in `store`."""

    def __init__(self, store: CacheStore, name: str) -> None:
        self._store = store
        self._before = f"{name}/"

    async def get(self, key: str) -> bytes | Missed:
        """What is kept under `key`."""
        return await self._store.get(self._before + key)

    async def set(
        self, key: str, value: bytes, seconds: float, *, tags: Collection[str] = (), since: Missed | None = None
    ) -> bool:
        """Keep `value` for `seconds`; whether it is kept."""
        return await self._store.set(self._before + key, value, seconds, tags=self._named(tags), since=since)

    async def delete(self, key: str) -> bool:
        """Forget `key`; whether that is certain by now."""
        return await self._store.delete(self._before + key)

    async def invalidate(self, tags: Collection[str]) -> bool:
        """Forget every entry that has one of `tags`; whether that is certain by now."""
        return await self._store.invalidate(self._named(tags))

    def health(self) -> Sequence[HealthState]:
        """What hinders the cache, for all."""
        return self._store.health()

    def _named(self, tags: Collection[str]) -> Sequence[str]:
        return [self._before + tag for tag in tags]
