"""How much is done in one transaction: as much as others do not notice (AIMD, as in Jacobson's congestion control)."""

__all__ = ["Pace"]

FEWEST, MOST = 64, 128
"""On a slow disk a commit takes long however little is in it: with fewer, commands that go on would outrun the rebuild.
In a rebuild at full speed beside 32 commands at a time, pages of 512 gave commands a p99 of 23 ms and 34,000 events
a second, pages of 128 gave 7 ms and 28,000."""

COMMIT_SECONDS = 0.008
"""What a transaction may last: commands wait behind it, and theirs has to be over within 50 ms."""

STEP = 16


class Pace:
    """A size of transactions, in rows or events: it grows slowly while they are quick, and halves when they are not."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 64

    def took(self, seconds: float) -> None:
        """A transaction of this size lasted so long."""
        if seconds > COMMIT_SECONDS:
            self.size = max(FEWEST, self.size // 2)
        else:
            self.size = min(MOST, self.size + STEP)
