"""What a store hands out: its rows, and what becomes of a commit."""

from collections.abc import Sequence
from enum import IntFlag
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import msgspec

from colonnade.persistence.unit import ChainId, Deliver, Publish, Snapshot

__all__ = [
    "Chain",
    "ChainPage",
    "Committed",
    "DataDirectory",
    "Deferral",
    "DueMessage",
    "DueTimer",
    "HorizonHeld",
    "KeptAside",
    "Lease",
    "LeftMessage",
    "Loaded",
    "Loss",
    "OutboxRow",
    "OutboxWeight",
    "ParkedMessage",
    "Sharer",
    "StoredEvent",
    "StoredMessage",
    "Touched",
]


class DataDirectory(msgspec.Struct, frozen=True, gc=False):
    """The folder in which one process keeps all that it stores."""

    path: Path


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One row of the log; `time` in microseconds since 1970-01-01T00:00:00Z."""

    position: int
    stream: str
    version: int
    id: UUID
    name: str
    schema: int
    data: bytes
    time: int
    correlation_id: UUID
    causation_id: UUID | None
    principal: str | None


StoredMessage = tuple[str, int, bytes]
"""A message as it lies in the store: stored name, version of its schema, JSON. Of many, as drivers give them."""


class Loaded(msgspec.Struct, frozen=True, gc=False):
    """What an aggregate is rebuilt from: its newest snapshot and the events after it."""

    snapshot: Snapshot | None
    events: Sequence[StoredMessage]


class Committed(msgspec.Struct, frozen=True, gc=False):
    """A unit is durable; `position` is that of its last event, or of the log's end when it has none."""

    position: int


class OutboxRow(msgspec.Struct, frozen=True, gc=False):
    """A message that waits for the relay; `seq` is its position in the outbox."""

    seq: int
    topic: str
    partition: int
    key: str
    id: UUID
    envelope: bytes


class ChainPage(NamedTuple):
    """Messages of one chain, in order; none up to the seq `pruned` is there any more."""

    rows: Sequence[OutboxRow]
    pruned: int


class LeftMessage(NamedTuple):
    """A message that is kept though it has reached the broker; `time` of its commit in microseconds."""

    seq: int
    time: int
    envelope_bytes: int


class OutboxWeight(NamedTuple):
    """So many messages and bytes of envelopes, up to the seq `last`."""

    last: int
    messages: int
    envelope_bytes: int


class Chain(msgspec.Struct, frozen=True, gc=False):
    """How far a chain has been received without a gap."""

    id: ChainId
    received: int


class DueMessage(msgspec.Struct, frozen=True, gc=False):
    """The first message in line for its consumer and key, ready to be handled now.

    It was sent, and received, at moments in microseconds: what lay at its producer while the broker was away is no
    younger for that.
    """

    row: int
    consumer: str
    lane: str
    key: str
    envelope: bytes
    attempts: int
    received_at: int
    sent_at: int

    @property
    def is_done_at_once(self) -> bool:
        """Whether it lies in no inbox, and is committed with what brings it: `row` is then the number of its doing."""
        return self.row < 0


class ParkedMessage(msgspec.Struct, frozen=True, gc=False):
    """A message that failed for good; `behind` later ones of its key wait for it, where it holds its key."""

    row: int
    consumer: str
    lane: str
    key: str
    envelope: bytes
    attempts: int
    cause: str
    received_at: int
    parked_at: int
    held: bool
    behind: int


class KeptAside(msgspec.Struct, frozen=True, gc=False):
    """What was not taken in: bytes that are no message, or one that nobody may handle any more."""

    row: int
    origin: str
    reason: str
    data: bytes
    received_at: int


class Loss(msgspec.Struct, frozen=True, gc=False):
    """Messages of a chain beyond the seq `after`, up to `up_to`, that no producer has any more; times in microseconds.

    `received` is how far the chain has come, None where there is none any more, and `behind` how many of its messages
    wait for those before them. Once passed over it stays as the record of that.
    """

    row: int
    chain: ChainId
    after: int
    up_to: int
    reason: str
    since: int
    received: int | None
    behind: int
    passed_at: int | None
    passed_by: str | None

    @property
    def is_open(self) -> bool:
        """Whether the chain still stands before it."""
        return self.passed_at is None and self.received == self.after


class Touched(IntFlag):
    """What a commit added to, so that those who wait for it can look."""

    EVENTS = 1
    OUTBOX = 2
    INBOX = 4
    TIMERS = 8
    CHECKPOINTS = 16
    SHARES = 32


class DueTimer(msgspec.Struct, frozen=True, gc=False):
    """A timer whose moment has come."""

    name: str
    due: int
    message: Deliver | Publish


class Deferral(msgspec.Struct, frozen=True, gc=False):
    """One who waits for an outcome that is known only later."""

    key: str
    reply_to: str
    reply_key: str


class Lease(msgspec.Struct, frozen=True, gc=False):
    """The right to do a piece of work alone, until `expires` (microseconds, by the database's clock)."""

    name: str
    owner: str
    epoch: int
    expires: int


class HorizonHeld(msgspec.Struct, frozen=True, gc=False):
    """A transaction that has drawn positions and has not ended: no reader goes beyond `position` before it has.

    `session` is the server process that runs it, `seconds` its age, `doing` its state and what it ran last.
    """

    position: int
    session: int
    seconds: float
    doing: str


class Sharer(msgspec.Struct, frozen=True, gc=False):
    """One of those who share some work, and the parts that it does alone."""

    owner: str
    parts: Sequence[int]
