"""How much is done in one transaction: as much as others do not notice (AIMD, as in Jacobson's congestion control)."""

__all__ = ["Pace"]

FEWEST, MOST = 16, 512
COMMIT_SECONDS = 0.008
"""What a transaction may last: commands wait behind it, and theirs has to be over within 50 ms."""

STEP = 32


class Pace:
    """A size of transactions, in rows or events: it grows slowly while they are quick, and halves when they are not."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 128

    def took(self, seconds: float) -> None:
        """A transaction of this size lasted so long."""
        if seconds > COMMIT_SECONDS:
            self.size = max(FEWEST, self.size // 2)
        else:
            self.size = min(MOST, self.size + STEP)
