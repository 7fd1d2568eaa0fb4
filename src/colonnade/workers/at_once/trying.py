"""Which messages are worth being tried at once: not kinds that took long, nor lines in which something waited."""

from colonnade.workers.at_once.messages import AtHand
from colonnade.world import Clock

__all__ = ["LONGEST_REST_SECONDS", "REMEMBERED", "REST_SECONDS", "Trying"]

REST_SECONDS = 0.1
"""For how long messages of a kind go the other way after one that did not join in time, or could not; for twice as long
each time in a row."""

LONGEST_REST_SECONDS = 60.0

BUSY_SECONDS = 1.0
"""For how long a line in which something waited is taken to be so still."""

REMEMBERED = 1_000
"""Of how many lines it is remembered that they are busy."""


class Trying:
    """Remembers what was in the way of messages at once, for a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # The monotonic second from which on a kind, or a line, may be tried again; and for how long a kind rested
        self._resting: dict[tuple[str, str], tuple[float, float]] = {}
        self._busy: dict[tuple[str, str], float] = {}

    def is_worth(self, message: AtHand) -> bool:
        """Whether it may be tried now."""
        if not self._resting and not self._busy:
            return True
        now = self._clock.monotonic()
        return not self._rests(message, now) and self._busy.get(message.line, now) <= now

    def may_not(self, message: AtHand) -> None:
        """It did not join in time, or could not: let its kind rest."""
        now = self._clock.monotonic()
        if not self._rests(message, now):  # those that began together count once
            _, before = self._resting.get(message.kind, (now, REST_SECONDS / 2))
            seconds = min(LONGEST_REST_SECONDS, 2 * before)
            self._resting[message.kind] = now + seconds, seconds

    def may(self, message: AtHand) -> None:
        """It joined in time; that says little while others of its kind did not."""
        if self._resting and not self._rests(message, self._clock.monotonic()):
            self._resting.pop(message.kind, None)

    def is_busy(self, line: tuple[str, str]) -> None:
        """Something waits there."""
        if len(self._busy) >= REMEMBERED:
            self._busy.clear()
        self._busy[line] = self._clock.monotonic() + BUSY_SECONDS

    def _rests(self, message: AtHand, now: float) -> bool:
        rest = self._resting.get(message.kind)
        return rest is not None and rest[0] > now
