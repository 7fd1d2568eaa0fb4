"""How often something may happen: so many times within any one second."""

from collections import deque

from colonnade.world import Clock

__all__ = ["RateWindow"]

WINDOW_SECONDS = 1.0


class RateWindow:
    """Counts what it lets through in a sliding window, to the letter: in no second are there more than `limit`.

    It is kept in this process and depends on nothing that could be away. One that begins has counted nothing: **it
    fails open**, for a second at most, and each of several gateways counts for itself.
    """

    def __init__(self, limit: int, clock: Clock) -> None:
        self.limit = limit
        self._monotonic = clock.monotonic
        self._passed: deque[float] = deque(maxlen=limit)

    def enter(self) -> float | None:
        """Let one through: None; or, where that would be one too many, the seconds until there is room."""
        now = self._monotonic()
        passed = self._passed
        if len(passed) == self.limit and (wait := passed[0] + WINDOW_SECONDS - now) > 0:
            return wait
        passed.append(now)
        return None
