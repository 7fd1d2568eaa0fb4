"""The end of the outbox as this process has written it, so that its relay need not look for that.

Positions are given out one after the other. Whoever has committed all of them from one on, below which everything is
decided, knows that nothing is missing before its own, as well as a look at the horizon would tell (row 3 of the
guarantees); where one is not its own, it has to look.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from colonnade.persistence.store import OutboxRow

__all__ = ["TAIL_ROWS", "Tail"]

TAIL_ROWS = 1_024
"""How many messages are kept for a relay, at most: when nobody takes them, they are looked for when somebody does."""

_Run = tuple[int, int, Sequence[OutboxRow]]
"""From which position to which, without a gap, and the messages among them."""


class Tail:
    """The messages behind the last look that are known to be all there are."""

    def __init__(self) -> None:
        self.is_held = False
        """Whether the last look ended before what had been drawn by then."""
        self._look = 0
        self._is_collecting = False
        self._from = 0
        self._reached: int | None = None
        self._rows: list[OutboxRow] = []
        self._apart: dict[int, _Run] = {}

    @property
    def is_collecting(self) -> bool:
        """Whether somebody relays here, and wants to be told."""
        return self._is_collecting

    def begin_look(self) -> int:
        """From here on, what is committed may not be found by the look; its number."""
        self._is_collecting = True
        return self._look

    def end_look(self, look: int, reached: int, *, held: bool) -> None:
        """Everything up to `reached` is decided, and was found."""
        if look != self._look:
            return
        self.is_held = held
        if self._reached is not None and reached <= self._reached:
            return
        self._from = self._reached = reached
        self._rows = []
        apart, self._apart = self._apart.values(), {}
        for first, last, rows in apart:
            if last > reached:
                begin = max(first, reached + 1)
                self._apart[begin] = (begin, last, [row for row in rows if row.seq >= begin])
        self._close_up()

    def forget(self) -> None:
        """Others have added to the outbox, after all that is known here: that has to be looked for."""
        self._look += 1
        self._is_collecting = self.is_held = False
        self._reached = None
        self._rows, self._apart = [], {}

    def add(self, positions: Sequence[int], rows: Sequence[OutboxRow]) -> None:
        """A batch was committed that had drawn these positions, in their order, and among them `rows`."""
        if not self._is_collecting:
            return
        for first, last in _runs(positions):
            self._apart[first] = (first, last, [row for row in rows if first <= row.seq <= last])
        self._close_up()
        if len(self._rows) + len(self._apart) > TAIL_ROWS:
            self.forget()

    def after(self, seq: int, limit: int) -> list[OutboxRow]:
        """Up to `limit` messages above `seq`; none where that has to be looked for. What is below is let go."""
        if self._reached is None or seq < self._from:
            return []
        if seq > self._from:
            self._from = seq
            self._rows = [row for row in self._rows if row.seq > seq]
        return self._rows[:limit]

    def _close_up(self) -> None:
        while self._reached is not None and (run := self._apart.pop(self._reached + 1, None)) is not None:
            _, self._reached, rows = run
            self._rows.extend(rows)


def _runs(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    if not positions:
        return
    if positions[-1] - positions[0] + 1 == len(positions):
        yield positions[0], positions[-1]
        return
    first = last = positions[0]
    for position in islice(positions, 1, None):
        if position != last + 1:
            yield first, last
            first = position
        last = position
    yield first, last
