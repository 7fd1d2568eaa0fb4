"""A model of what is around the tail of an outbox: who draws positions, who tells of it, and who looks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from colonnade.persistence.postgres.holding import Hold
from colonnade.persistence.postgres.tail import Tail
from colonnade.persistence.store import OutboxRow

__all__ = ["Model", "message"]

PAGE = 3
"""So few that pages are full now and then."""

RARELY = 7
"""One in so many actions is one that a process alone sees rarely."""

Action = tuple[str, Callable[[], None]]


def message(seq: int) -> OutboxRow:
    """A message at this position."""
    return OutboxRow(seq, "shop.events", 0, "a", UUID(int=seq), b"{}")


@dataclass
class Writing:
    """One transaction."""

    own: bool
    lock: int
    """All that it draws is above this."""
    is_locked: bool = False
    positions: list[int] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)


@dataclass
class Looking:
    """One who has asked the outbox, and waits for the answer."""

    after: int
    limit: int
    look: int
    decided: int
    relays: bool
    found: tuple[Sequence[OutboxRow], int, int] | None = None


class Model:
    """One sequence, the transactions that draw from it, one process and its relay; each step is an action's."""

    def __init__(self) -> None:
        self.tail = Tail(self._wake)
        self._hold = Hold(self._wake)
        self.committed: list[int] = []
        """The messages."""
        self.relayed: list[int] = []
        self.story: list[str] = []
        self._last = 1
        self._open: list[Writing] = []
        self._to_tell: list[Callable[[], None]] = []
        self._looking: list[Looking] = []
        self._offered = 1
        self._is_woken = True
        self._is_awake = False

    def play(self, choices: Sequence[int]) -> None:
        """Carry out an action for each choice."""
        for choice in choices:
            kind, number = choice % RARELY, choice // RARELY
            actions = [*self._rare()] if kind == 0 else [*self._usual()] or [*self._rare()]
            name, act = actions[number % len(actions)]
            self.story.append(name)
            act()

    def end(self) -> None:
        """Let everybody come to the end of what is under way."""
        while self._open:
            self._end_writing(self._open[0], commits=len(self._open) % 2 == 0)
        while self._to_tell or self._looking or self._is_woken or self._is_awake:
            name, act = next(self._endings())
            self.story.append(name)
            act()

    def _usual(self) -> Iterator[Action]:
        yield from self._endings()
        if sum(each.own for each in self._open) < 2:
            yield "begin", partial(self._open.append, Writing(own=True, lock=self._last, is_locked=True))
        for each in self._open:
            if each.is_locked:
                is_message = each.lock % 3 > 0
                yield f"draw {is_message=} above {each.lock}", partial(self._draw, each, is_message=is_message)
            if each.positions:
                yield f"commit {each}", partial(self._end_writing, each, commits=True)

    def _rare(self) -> Iterator[Action]:
        for own in (True, False):
            if sum(each.own is own for each in self._open) < 2:
                yield f"begin {own=}", partial(self._open.append, Writing(own, self._last))
        for each in self._open:
            if each.is_locked:
                yield f"draw a message above {each.lock}", partial(self._draw, each, is_message=True)
            else:
                yield f"lock {each.lock}", partial(setattr, each, "is_locked", True)
            yield f"roll back {each}", partial(self._end_writing, each, commits=False)
        if self._open:
            yield "others are seen to have drawn", self._others
        yield "somebody else looks", lambda: self._ask(max(1, self._offered - 2), 1 + self._last % PAGE, relays=False)

    def _endings(self) -> Iterator[Action]:
        for word in self._to_tell:
            yield "tell", partial(self._tell, word)
        for each in self._looking:
            if each.found is None:
                yield f"read above {each.after}", partial(self._read, each)
            else:
                yield f"answer {each.after} with {each.found}", partial(self._answer, each)
        if (self._is_awake or self._is_woken) and not any(each.relays for each in self._looking):
            yield "relay", self._relay

    def _tell(self, word: Callable[[], None]) -> None:
        self._to_tell.remove(word)
        word()

    def _draw(self, writing: Writing, *, is_message: bool) -> None:
        self._last += 1
        writing.positions.append(self._last)
        if is_message:
            writing.messages.append(self._last)

    def _end_writing(self, writing: Writing, *, commits: bool) -> None:
        self._open.remove(writing)
        if commits:
            self.committed = sorted([*self.committed, *writing.messages])
        if writing.is_locked:
            self._to_tell.append(self._word(writing, commits=commits))

    def _word(self, writing: Writing, *, commits: bool) -> Callable[[], None]:
        if not commits:
            return self._hold.decided  # of one's own at once, of another's when one looks after it
        if not writing.own:
            return lambda: self._told(writing, forgets=True)

        def answered() -> None:
            if len(writing.positions) % 4 == 3:
                self.tail.forget()  # its connection broke
            else:
                self.tail.add(writing.positions, [message(seq) for seq in writing.messages])
            self._to_tell.append(lambda: self._told(writing, forgets=False))

        return answered

    def _told(self, writing: Writing, *, forgets: bool) -> None:
        if forgets:
            self.tail.forget()
        self._hold.decided()
        if writing.messages:
            self._wake()

    def _others(self) -> None:
        self.tail.forget()
        self._hold.decided()
        self._wake()

    def _wake(self) -> None:
        self._is_woken = True

    def _relay(self) -> None:
        self._is_awake, self._is_woken = True, False
        known = self.tail.after(self._offered, PAGE)
        if known:
            self._given(self._offered, known)
            self._take(known, PAGE)
        else:
            self._ask(self._offered, PAGE, relays=True)

    def _take(self, rows: Sequence[OutboxRow], limit: int) -> None:
        self.relayed += [row.seq for row in rows]
        if rows:
            self._offered = rows[-1].seq
        self._is_awake = len(rows) == limit

    def _ask(self, after: int, limit: int, *, relays: bool) -> None:
        if not relays:
            if len(self._looking) > 2:
                return
            if known := self.tail.after(after, limit):
                self._given(after, known)
                return
        self._looking.append(Looking(after, limit, self.tail.begin_look(), self._hold.begin_look(), relays))

    def _read(self, each: Looking) -> None:
        reached = min([self._last, *(writing.lock for writing in self._open if writing.is_locked)])
        rows = [message(seq) for seq in self.committed if each.after < seq <= reached][: each.limit]
        if len(rows) == each.limit:
            reached = rows[-1].seq
        each.found = rows, reached, self._last

    def _answer(self, each: Looking) -> None:
        self._looking.remove(each)
        assert each.found is not None
        rows, reached, drawn = each.found
        self._hold.end_look(each.decided, held=reached < drawn)
        self.tail.end_look(each.look, reached, drawn)
        if each.relays:
            self._take(rows, each.limit)

    def _given(self, after: int, rows: Sequence[OutboxRow]) -> None:
        last = rows[-1].seq
        there = [seq for seq in self.committed if after < seq <= last]
        assert [row.seq for row in rows] == there, (after, rows, self.story)
        undecided = [each for each in self._open if any(position <= last for position in each.positions)]
        assert not undecided, (after, rows, self.story)
