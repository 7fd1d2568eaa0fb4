"""The oldest message that a service has not handled: told when it is old, whoever ought to handle it and why not."""

from collections.abc import Callable, Sequence

from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.store import DueMessage, InboxRows
from colonnade.world import Clock, World

__all__ = ["LATE_SECONDS", "LOOK_EVERY_SECONDS", "Lateness"]

LATE_SECONDS = 55.0
"""A message that is not handled for so long after it was sent is told, with the next look."""

LOOK_EVERY_SECONDS = 5.0


class Lateness:
    """Looks now and then into the inbox of one service, for the message in line that was sent first of all.

    It may be handled by another instance, or by nobody, be at work or wait to be tried again. What is parked is told as
    such, and what waits behind it waits for a person. `at_work` tells for how many seconds this process has been at a
    row, None where it is not.
    """

    def __init__(
        self, service: str, inbox: InboxRows, world: World, at_work: Callable[[int], float | None] = lambda row: None
    ) -> None:
        self._service = service
        self._inbox = inbox
        self._world = world
        self._at_work = at_work
        self._oldest: DueMessage | None = None

    def health(self) -> Sequence[HealthState]:
        """The oldest message, if it is too old."""
        oldest = self._oldest
        if oldest is None or (age := _age(oldest, self._world.clock)) < LATE_SECONDS:
            return ()
        detail = (
            f"A message of {oldest.key} for {oldest.consumer} is not handled {age:.0f} s after it was sent: "
            f"{self._why(oldest)}."
        )
        return (HealthState(f"{self._service}.late", Severity.DEGRADED, detail),)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await self._world.sleep(LOOK_EVERY_SECONDS)

    async def look(self) -> None:
        """Find the oldest message."""
        self._oldest = await self._inbox.oldest()

    def _why(self, oldest: DueMessage) -> str:
        at_work = self._at_work(oldest.row)
        if at_work is not None:
            return f"it has been at work here for {at_work:.0f} s, see what it waits for"
        if oldest.attempts:
            return f"it has failed {oldest.attempts} times and is tried again, see what it fails by"
        return "see who has its lines, what is before it, and what else is told of this service"


def _age(message: DueMessage, clock: Clock) -> float:
    return (clock.micros() - message.sent_at) / 1_000_000
