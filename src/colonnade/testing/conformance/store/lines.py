"""A model of the inbox: lines of messages, and of each line what it waits for."""

from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Line", "Lines", "Message"]

LineId = tuple[str, str, str]
"""Consumer, key, and the lane or the chain."""


@dataclass
class Message:
    """One message and what has become of it."""

    place: int
    arrived: int
    envelope: bytes
    time: int
    sent_at: int
    ready: bool = True
    attempts: int = 0
    parked: bool = False
    holds: bool = False


@dataclass
class Line:
    """The messages of one line that are not done, in their order; its first waits until `not_before`."""

    messages: list[Message] = field(default_factory=list)
    not_before: int = 0

    def first(self) -> Message | None:
        """The one that is next, or holds the line."""
        live = (each for each in self.messages if each.ready and (each.holds or not each.parked))
        return next(live, None)

    def behind(self, message: Message) -> int:
        """How many wait behind one that holds the line."""
        return sum(each.place > message.place and not each.parked for each in self.messages) if message.holds else 0


class Lines:
    """All lines."""

    def __init__(self) -> None:
        self.lines: dict[LineId, Line] = {}
        self._arrived = 0

    def add(
        self,
        id: LineId,
        envelope: bytes,
        time: int,
        *,
        place: int | None = None,
        ready: bool = True,
        sent_at: int | None = None,
    ) -> None:
        """A message comes, at the end of its line unless its place is named, sent just now unless it says when."""
        self._arrived += 1
        sent_at = time if sent_at is None else sent_at
        message = Message(place or self._arrived, self._arrived, envelope, time, sent_at, ready)
        line = self.lines.setdefault(id, Line())
        first = line.first()
        line.messages.append(message)
        line.messages.sort(key=lambda each: each.place)
        self._changed(line, first)

    def complete(self, chain: str, places: set[int]) -> None:
        """What came early may be handled."""
        for (_, _, kept), line in self.lines.items():
            if kept == chain:
                first = line.first()
                for message in line.messages:
                    message.ready = message.ready or message.place in places
                self._changed(line, first)

    def handle(self, envelope: bytes) -> None:
        """A message is done, or given up."""
        line, message = self.find(envelope)
        first = line.first()
        line.messages.remove(message)
        self._changed(line, first)

    def retry(self, envelope: bytes, attempts: int, not_before: int) -> None:
        """A message waits; its line with it, where it is the first."""
        line, message = self.find(envelope)
        message.attempts = attempts
        if line.first() is message:
            line.not_before = not_before

    def park(self, envelope: bytes, attempts: int, *, hold: bool) -> None:
        """A message is set aside."""
        line, message = self.find(envelope)
        first = line.first()
        message.attempts, message.parked, message.holds = attempts, True, hold
        self._changed(line, first)

    def unpark(self, envelope: bytes, edited: bytes | None) -> None:
        """A message is tried again at once, if nothing before it is waiting."""
        line, message = self.find(envelope)
        message.attempts, message.parked, message.holds = 0, False, False
        message.envelope = envelope if edited is None else edited
        if line.first() is message:
            line.not_before = 0

    def find(self, envelope: bytes) -> tuple[Line, Message]:
        """The line that a message is in, and the message."""
        return next(
            (line, message) for line in self.lines.values() for message in line.messages if message.envelope == envelope
        )

    def all(self) -> Iterator[tuple[LineId, Line, Message]]:
        """Every message, as it came."""
        found = [(id, line, message) for id, line in self.lines.items() for message in line.messages]
        yield from sorted(found, key=lambda each: each[2].arrived)

    def due(self, now: int) -> list[tuple[LineId, Message]]:
        """The first of each line that may be handled, in the order in which they may."""
        heads = [(id, line, first) for id, line in self.lines.items() if (first := line.first()) is not None]
        due = [each for each in heads if not each[2].parked and each[1].not_before <= now]
        due.sort(key=lambda each: (each[1].not_before, each[2].sent_at, each[2].arrived))
        return [(id, first) for id, _, first in due]

    def moments(self) -> list[int]:
        """When lines that wait may go on."""
        heads = ((line, line.first()) for line in self.lines.values())
        return sorted(line.not_before for line, first in heads if first is not None and not first.parked)

    def _changed(self, line: Line, first: Message | None) -> None:
        if line.first() is not first:
            line.not_before = 0
