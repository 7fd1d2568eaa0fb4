"""How long to wait before trying again: exponentially longer, with jitter (Brooker, Exponential Backoff and Jitter)."""

from colonnade.world import Randomness

__all__ = ["ATTEMPTS", "Backoff", "backoff_seconds"]

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 300.0
ATTEMPTS = 25
"""How often a message is tried before it is parked. The waits between add up to 33 to 67 minutes: longer than most
outages."""


def backoff_seconds(attempt: int, randomness: Randomness) -> float:
    """The wait after the failed `attempt`, which counts from 1: between half and the whole of a doubling step."""
    step = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempt - 1, 30))
    return step * (0.5 + randomness.random() / 2)


class Backoff:
    """The waits of one loop between its failures."""

    def __init__(self, randomness: Randomness) -> None:
        self._randomness = randomness
        self._failures = 0

    def next_seconds(self) -> float:
        """The wait after one more failure."""
        self._failures += 1
        return min(5.0, backoff_seconds(self._failures, self._randomness))

    def reset(self) -> None:
        """Something went well: begin again with short waits."""
        self._failures = 0
