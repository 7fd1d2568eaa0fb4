"""A clock that is set by hand."""

from datetime import datetime

from colonnade.world import datetime_of

__all__ = ["SetClock"]


class SetClock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self._micros = 1_700_000_000_000_000
        self._monotonic = 1_000.0

    def now(self) -> datetime:
        """The time of day."""
        return datetime_of(self._micros)

    def micros(self) -> int:
        """The same in microseconds."""
        return self._micros

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic += seconds
        self.jump(seconds)

    def jump(self, seconds: float) -> None:
        """Set the time of day, as an operator may."""
        self._micros += int(seconds * 1_000_000)
