"""The end of the outbox as this process has written it, so that its relay need not look for that.

Positions are given out one after the other. Whoever has committed all of them from one on, below which everything is
decided, knows that nothing is missing before its own, as well as a look at the horizon would tell (row 3 of the
guarantees); where one is not its own, it has to look.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

from colonnade.persistence.store import OutboxRow

__all__ = ["TAIL_ROWS", "Tail"]

TAIL_ROWS = 1_024
"""How many messages are kept for a relay, at most: when nobody takes them, they are looked for when somebody does."""

_SEQ = attrgetter("seq")


class _Run(NamedTuple):
    """Positions without a gap, and the messages among them."""

    last: int
    rows: Sequence[OutboxRow]


class Tail:
    """The messages behind the last look that are known to be all there are.

    It calls `wake` when the relay has to come again since it was handed less than there may be.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._forgotten = 0
        self._is_collecting = False
        self._from = 0
        self._reached: int | None = None
        self._drawn = 0
        """Up to where others may have committed before the last look."""
        self._rows: list[OutboxRow] = []
        self._apart: dict[int, _Run] = {}
        """By their first positions, all above `_reached`."""
        self._rows_apart = 0

    @property
    def is_collecting(self) -> bool:
        """Whether somebody relays here, and wants to be told."""
        return self._is_collecting

    def begin_look(self) -> int:
        """From here on, what is committed may not be found by the look; its number."""
        self._is_collecting = True
        return self._forgotten

    def end_look(self, look: int, reached: int, drawn: int) -> None:
        """Everything up to `reached` is decided, and was found; positions up to `drawn` had been drawn by then."""
        if look != self._forgotten or (self._reached is not None and reached <= self._reached):
            return
        self._from = self._reached = reached
        self._drawn = max(self._drawn, drawn)
        self._rows = []
        apart, self._apart, self._rows_apart = self._apart, {}, 0
        for first, run in apart.items():
            self._set_apart(first, run.last, run.rows)
        self._close_up()

    def forget(self) -> None:
        """Others have added to the outbox, after all that is known here: that has to be looked for."""
        self._forgotten += 1
        self._is_collecting = False
        self._reached, self._drawn = None, 0
        self._rows, self._apart, self._rows_apart = [], {}, 0

    def add(self, positions: Sequence[int], rows: Sequence[OutboxRow]) -> None:
        """A batch was committed that had drawn these positions, in their order, and among them `rows`."""
        if not self._is_collecting:
            return
        for first, last in _runs(positions):
            self._set_apart(first, last, rows)
        self._close_up()
        if len(self._rows) + len(self._apart) + self._rows_apart > TAIL_ROWS:
            self.forget()

    def after(self, seq: int, limit: int) -> list[OutboxRow]:
        """Up to `limit` messages above `seq`; none where that has to be looked for. What is below is let go."""
        if self._reached is None or not self._from <= seq <= self._reached:
            return []
        self._from = seq
        del self._rows[: bisect_right(self._rows, seq, key=_SEQ)]
        known = self._rows[:limit]
        if known and (self._apart or self._reached < self._drawn):
            self._wake()  # for what may be behind a gap, which has to be looked for
        return known

    def _set_apart(self, first: int, last: int, rows: Sequence[OutboxRow]) -> None:
        """Keep what is not found: of a batch that a look has met in its middle, the end."""
        if self._reached is not None:
            first = max(first, self._reached + 1)
        if first <= last:
            among = rows[bisect_left(rows, first, key=_SEQ) : bisect_right(rows, last, key=_SEQ)]
            self._apart[first] = _Run(last, among)
            self._rows_apart += len(among)

    def _close_up(self) -> None:
        while self._reached is not None and (run := self._apart.pop(self._reached + 1, None)) is not None:
            self._reached = run.last
            self._rows_apart -= len(run.rows)
            self._rows.extend(run.rows)


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
