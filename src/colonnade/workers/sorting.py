"""What of a chain has come is sorted into the order in which it was sent, and to the consumers who want it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from colonnade.brokers.broker import Carried
from colonnade.messages.envelope import Envelope, MalformedEnvelope
from colonnade.persistence.addresses import HANDLERS, commands_of, replies_of
from colonnade.persistence.reply_keys import ReplyKey
from colonnade.persistence.unit import ChainId, Incoming, KeepAside, Receive
from colonnade.workers.at_once import AtHand
from colonnade.workers.chain_states import ChainState
from colonnade.workers.consumers import NOBODY
from colonnade.workers.losses import Losses
from colonnade.workers.places import FRESH_MICROSECONDS
from colonnade.world import World, micros_of

__all__ = ["OtherTenants", "Sorted", "Sorting"]


class OtherTenants(ValueError):
    """A message of one tenant came to another's inbox."""

    def __init__(self, theirs: str | None, ours: str | None) -> None:
        super().__init__(theirs, ours)
        self.theirs, self.ours = theirs, ours

    def __str__(self) -> str:
        return f"It is a message of {self.theirs or 'no tenant'}, and came to the inbox of {self.ours or 'no tenant'}."


@dataclass(slots=True)
class Sorted:
    """What becomes of the messages of one chain; `receive` is None where nothing of them is new."""

    receive: Receive | None = None
    aside: list[KeepAside] = field(default_factory=list)
    at_hand: list[AtHand] = field(default_factory=list)


class Sorting:
    """For one service; `interested` names the consumers of each event's stored name."""

    def __init__(
        self, service: str, world: World, interested: Mapping[str, Sequence[str]], losses: Losses, tenant: str | None
    ) -> None:
        self._service = service
        self._clock = world.clock
        self._interested = interested
        self._losses = losses
        self._tenant = tenant

    def sort(self, chain: ChainId, carried: Sequence[Carried], expected: int, state: ChainState) -> Sorted:
        """Move `state` on over `carried`, where the store has received the chain up to `expected`."""
        found = Sorted()
        rows: list[Incoming] = []
        later: set[tuple[str, str]] = set()
        """The lines in which one waits for others, and none may go before it."""
        fresh_since = self._clock.micros() - FRESH_MICROSECONDS
        before = state.received
        changed = state.received in state.early
        completed = state.follow()
        for message in sorted(carried, key=lambda each: each.seq):
            seq = message.seq
            if seq <= state.received or seq in state.early_seqs:
                if (loss := self._losses.passed_over(chain, seq)) is not None:
                    found.aside.append(self._losses.came(message, loss))
                continue
            changed = True
            ready = message.prev <= state.received
            incoming, envelope = self._rows(message, ready, found.aside)
            rows.extend(incoming)
            lines = [(row.consumer, row.key) for row in incoming]
            if ready and envelope is not None and incoming and incoming[0].sent_at >= fresh_since:
                found.at_hand.extend(
                    AtHand(row, envelope) for row, line in zip(incoming, lines, strict=True) if line not in later
                )
            else:
                later.update(lines)
            if not ready:
                state.come_early(seq, message.prev)
                continue
            state.received = seq
            completed += state.follow()
        if not changed:
            return found
        if not state.early:
            state.hole_since = None
        elif state.hole_since is None or state.received != before:
            # Another hole than before, if there was one
            state.hole_since = self._clock.monotonic()
        found.receive = Receive(chain, expected, state.received, rows, completed)
        return found

    def _rows(self, message: Carried, ready: bool, aside: list[KeepAside]) -> tuple[list[Incoming], Envelope | None]:
        envelope, sent_at = None, self._clock.micros()
        try:
            envelope = Envelope.decode(message.envelope)
            sent_at = min(sent_at, micros_of(envelope.time))  # clocks differ a little
            consumers = self._consumers(message, envelope)
        except (MalformedEnvelope, ValueError) as error:
            origin = f"{message.source}/{message.topic}/{message.partition}/{message.seq}"
            aside.append(KeepAside(origin, str(error), message.envelope))
            consumers = []
        # An early message that nobody here wants is kept all the same: its place in the chain must be known
        if not consumers and not ready:
            consumers = [(NOBODY, "")]
        rows = [
            Incoming(message.seq, message.prev, consumer, key, message.envelope, ready, sent_at)
            for consumer, key in consumers
        ]
        return rows, envelope

    def _consumers(self, message: Carried, envelope: Envelope) -> list[tuple[str, str]]:
        if envelope.tenant != self._tenant:
            raise OtherTenants(envelope.tenant, self._tenant)
        if message.topic == commands_of(self._service):
            return [(HANDLERS, message.key)]
        if message.topic == replies_of(self._service):
            return [ReplyKey.line_of(envelope.replykey or "")]
        return [(consumer, message.key) for consumer in self._interested.get(envelope.type, ())]
