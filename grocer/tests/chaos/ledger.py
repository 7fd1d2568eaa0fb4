"""Every message that Grocer's services committed, held against every effect that it had: in whose store, and how often.

What a message brought about bears its id as causation: events in the log, and messages in the outbox.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import msgspec
from colonnade.messages.envelope import Envelope
from colonnade.persistence.reply import Reply
from colonnade.persistence.reply_keys import ReplyKey
from colonnade.workers.sagas.history import StepAnswered
from colonnade.workers.sagas.instance import TIMED_OUT

CONSUMERS: Mapping[str, Sequence[str]] = {
    "ordering.OrderConfirmed": ("inventory", "notifications"),
    "ordering.OrderRejected": ("notifications",),
    "ordering.OrderCancelled": ("notifications",),
}
"""Who takes an event in; commands and replies go to the service of their topic."""


@dataclass(frozen=True)
class Sent:
    """A message of an outbox."""

    source: str
    topic: str
    partition: int
    seq: int
    key: str
    envelope: Envelope

    @property
    def consumers(self) -> Sequence[str]:
        """The services in which it must have an effect."""
        service, _, kind = self.topic.rpartition(".")
        return CONSUMERS.get(self.envelope.type, ()) if kind == "events" else (service,)

    def __str__(self) -> str:
        return f"{self.envelope.type} {self.envelope.id} of {self.source} for {self.key}"


@dataclass(frozen=True)
class Effect:
    """What a message brought about: an event of a stream, or a message that was sent."""

    position: int
    what: str


@dataclass
class Ledger:
    """All that the stores hold."""

    sent: list[Sent] = field(default_factory=list)
    effects: dict[tuple[str, UUID], list[Effect]] = field(default_factory=lambda: defaultdict(list))
    """By service and the message that caused them."""
    answers: Counter[str] = field(default_factory=Counter)
    """How many replies each asking of a step got."""
    timed_out: set[tuple[str, str, bool]] = field(default_factory=set)
    """By key, step and whether it was its undoing: what a saga has given up waiting for, and lets be undone."""
    events: Counter[str] = field(default_factory=Counter)
    """How many events there are of each name."""
    left: list[str] = field(default_factory=list)
    """What is still in line, parked or kept aside, in words."""

    @classmethod
    async def read(cls, stores: Mapping[str, str]) -> "Ledger":
        """Read the stores at these addresses, by service."""
        ledger = cls()
        for service, address in stores.items():
            connection = await asyncpg.connect(address)
            try:
                await ledger._read(service, connection)
            finally:
                await connection.close()
        return ledger

    async def _read(self, service: str, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        for position, stream, name, causation, data in await connection.fetch(
            "SELECT position, stream, name, causation, data FROM public.events ORDER BY position"
        ):
            self.events[name] += 1
            if name == "colonnade.StepAnswered":
                answered = msgspec.json.decode(data, type=StepAnswered)
                if answered.code == TIMED_OUT:
                    self.timed_out.add((stream.partition("/")[2], answered.step, answered.undo))
            if causation is not None:
                self.effects[service, causation].append(Effect(position, f"{name} in {stream}"))
        for seq, topic, partition, key, raw in await connection.fetch(
            "SELECT seq, topic, partition, key, envelope FROM public.outbox ORDER BY seq"
        ):
            envelope = Envelope.decode(raw)
            self.sent.append(Sent(service, topic, partition, seq, key, envelope))
            if envelope.type == Reply.NAME:
                self.answers[envelope.replykey or ""] += 1
            if envelope.causationid is not None:
                what = f"{envelope.type} {envelope.replykey or ''} to {topic}"
                self.effects[service, envelope.causationid].append(Effect(seq, what))
        for table in ("inbox", "heads", "kept_aside"):
            if count := await connection.fetchval(f"SELECT count(*) FROM public.{table}"):
                self.left.append(f"{count} rows in {table} of {service}")

    def lost(self) -> list[str]:
        """Messages that had no effect where they must have one."""
        return [
            f"{each} had no effect in {service}"
            for each in self.sent
            for service in each.consumers
            if not self.effects.get((service, each.envelope.id)) and not (self._is_again(each) or self._is_late(each))
        ]

    def doubled(self) -> list[str]:
        """Messages that had one effect twice."""
        return [
            f"{cause} had an effect {number} times in {service}: {what}"
            for (service, cause), effects in self.effects.items()
            for what, number in Counter(effect.what for effect in effects).items()
            if number > 1
        ]

    def disordered(self) -> list[str]:
        """Messages of one key whose effects came before those of an earlier one."""
        found = []
        reached: dict[tuple[str, str, str, int, str], tuple[int, Sent]] = {}
        for each in sorted(self.sent, key=lambda sent: (sent.source, sent.seq)):
            for service in each.consumers:
                effects = self.effects.get((service, each.envelope.id))
                if not effects:
                    continue
                line = (service, each.source, each.topic, each.partition, each.key)
                first, last = effects[0].position, effects[-1].position
                before, earlier = reached.get(line, (0, each))
                if min(first, last) <= before:
                    found.append(f"{each} took effect in {service} before {earlier}")
                reached[line] = (max(first, last), each)
        return found

    def _is_again(self, sent: Sent) -> bool:
        # Of several answers to one question the saga takes the first
        return sent.envelope.type == Reply.NAME and self.answers[sent.envelope.replykey or ""] > 1

    def _is_late(self, sent: Sent) -> bool:
        # What was done after its time is undone by what the saga has asked for since
        if sent.envelope.type != Reply.NAME:
            return False
        asked = ReplyKey.parse(sent.envelope.replykey or "")
        return (asked.key, asked.step, asked.undo) in self.timed_out
