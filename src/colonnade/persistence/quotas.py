"""How much a store may hold: beyond it no commands are taken, and queries go on."""

from colonnade.persistence.store import Store
from colonnade.world import Clock

__all__ = ["EventQuota", "QuotaReached"]

LOOK_SECONDS = 1.0
"""How often it is looked what others, sagas for instance, have added."""


class QuotaReached(Exception):
    """The store holds as many events as it may."""

    def __init__(self, tenant: str, service: str, limit: int) -> None:
        super().__init__(tenant, service, limit)
        self.tenant, self.service, self.limit = tenant, service, limit

    def __str__(self) -> str:
        return (
            f"{self.tenant} has stored {self.limit} events in {self.service}, which is its quota: commands are "
            "refused, queries are answered; ask who runs this system for a higher one."
        )


class EventQuota:
    """Up to `limit` events of `tenant` in `store`, by the positions of its log, which are never given out twice.

    Who has begun may end: messages are handled beyond it, so that no saga stands still. What commands that are at work
    at the same time add, and what others added since the last look, may come on top.
    """

    def __init__(self, tenant: str, service: str, limit: int, store: Store, clock: Clock) -> None:
        self._tenant = tenant
        self._service = service
        self._limit = limit
        self._store = store
        self._monotonic = clock.monotonic
        self._reached = 0
        self._look_at = clock.monotonic()

    async def check(self) -> None:
        """Raises `QuotaReached`."""
        if self._reached < self._limit and self._monotonic() >= self._look_at:
            self.reached(await self._store.log.end())
            self._look_at = self._monotonic() + LOOK_SECONDS
        if self._reached >= self._limit:
            raise QuotaReached(self._tenant, self._service, self._limit)

    def reached(self, position: int) -> None:
        """An event has this position."""
        self._reached = max(self._reached, position)
