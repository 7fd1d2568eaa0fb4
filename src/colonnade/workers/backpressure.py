"""How much more may come in: what waits to be handled keeps messages at their broker."""

from collections.abc import Sequence

from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.store import Store
from colonnade.world import World

__all__ = ["BACKLOG_LIMIT", "Backpressure"]

BACKLOG_LIMIT = 50_000
"""With more unhandled messages than this a service takes no more in, until half of them are done."""

ROOM_SHARE = 8
"""Of the room that is left, this part may be filled before it is counted again what waits, which takes the longer the
more there is: a message may be for several consumers, and other instances take some in too."""

_LOOK_EVERY_SECONDS = 0.5


class Backpressure:
    """Lets the messages of one service in while fewer than a limit wait to be handled."""

    def __init__(self, service: str, store: Store, world: World, backlog_limit: int) -> None:
        self._service = service
        self._store = store
        self._world = world
        self._backlog_limit = backlog_limit
        self._full = False
        self._left = self._uncounted = 0
        """So many messages may come before it is counted again what waits, and so many have come since it was."""

    @property
    def full(self) -> bool:
        """Whether nothing is taken in."""
        return self._full

    def health(self) -> Sequence[HealthState]:
        """A backlog that keeps messages out."""
        if not self._full:
            return ()
        detail = f"More than {self._backlog_limit} messages wait to be handled; none are taken in until half are."
        return [HealthState(f"{self._service}.backlog", Severity.DEGRADED, detail)]

    async def admit(self, messages: int) -> None:
        """Return when there is room for so many messages."""
        if self._full or self._uncounted + messages > self._left:
            await self._wait()
        self._uncounted += messages

    async def look(self) -> None:
        """See whether there is room again."""
        if self._full and await self._movable() <= self._backlog_limit // 2:
            self._full = False

    async def _wait(self) -> None:
        if not self._full and await self._is_left():
            return
        self._full = True
        while self._full:
            await self._world.sleep(_LOOK_EVERY_SECONDS)
            await self.look()

    async def _is_left(self) -> bool:
        unhandled = await self._store.inbox.unhandled()
        self._left, self._uncounted = (self._backlog_limit - unhandled) // ROOM_SHARE, 0
        return unhandled <= self._backlog_limit or await self._movable() <= self._backlog_limit

    async def _movable(self) -> int:
        # One parked message must not close the door, however many wait behind it
        return await self._store.inbox.unhandled() - await self._store.inbox.held()
