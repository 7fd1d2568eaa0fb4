"""The unit of work as data: all that one command changes, collected while it runs, committed whole (Fowler)."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

__all__ = [
    "Advance",
    "Answer",
    "Append",
    "ArmTimer",
    "ChainId",
    "Defer",
    "Deliver",
    "DisarmTimer",
    "Discard",
    "Effect",
    "Expect",
    "Fence",
    "Forget",
    "Handled",
    "HandledAtOnce",
    "Incoming",
    "KeepAside",
    "NewEvent",
    "NoteLoss",
    "Park",
    "PassOver",
    "Publish",
    "Receive",
    "Relayed",
    "Retry",
    "Settle",
    "Snapshot",
    "Succeed",
    "Unit",
    "Unpark",
    "Write",
    "WriteMany",
    "at_once",
]


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event to be stored: its id, stored name, schema version and JSON."""

    id: UUID
    name: str
    schema: int
    data: bytes


class Append(msgspec.Struct, frozen=True, gc=False):
    """Add `events` to `stream`, which must hold exactly `expected` events before."""

    stream: str
    expected: int
    events: Sequence[NewEvent]


class Expect(msgspec.Struct, frozen=True, gc=False):
    """The stream must be at this version still: what was decided was decided on that."""

    stream: str
    version: int


class Publish(msgspec.Struct, frozen=True, gc=False):
    """Put an envelope into the outbox, for the topic's partition of `key`."""

    topic: str
    key: str
    id: UUID
    envelope: bytes


class Deliver(msgspec.Struct, frozen=True, gc=False):
    """Put an envelope straight into this service's own inbox, for one of its consumers.

    `lane` parts messages that never wait for each other: "" for messages, "timers" for what comes due, "controls" for
    what a person decides.
    """

    consumer: str
    key: str
    envelope: bytes
    lane: str = ""


class Fence(msgspec.Struct, frozen=True, gc=False):
    """Holds only while the lease has this epoch: an owner that was overtaken commits nothing."""

    lease: str
    epoch: int


class Relayed(msgspec.Struct, frozen=True, gc=False):
    """The outbox of this topic's partition has reached the broker up to position `seq`."""

    topic: str
    partition: int
    seq: int


class ChainId(msgspec.Struct, frozen=True, gc=False):
    """One ordered flow of messages into a service."""

    source: str
    history: UUID
    topic: str
    partition: int


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """One message of a chain for one consumer; `ready` once all before it have been received.

    `sent_at` is in microseconds since 1970-01-01T00:00:00Z, and not later than the message was received.
    """

    seq: int
    prev: int
    consumer: str
    key: str
    envelope: bytes
    ready: bool
    sent_at: int


class Receive(msgspec.Struct, frozen=True, gc=False):
    """Take messages into the inbox and move the chain's mark, which must stand at `expected`, to `received`.

    `completed` are the sequence numbers of messages received early, whose gap these messages close. `at_once` are the
    lines, by consumer and key, of messages of the chain that are done with this unit instead of being taken in: nothing
    may wait in them.
    """

    chain: ChainId
    expected: int
    received: int
    messages: Sequence[Incoming]
    completed: Sequence[int] = ()
    at_once: Sequence[tuple[str, str]] = ()


class Succeed(msgspec.Struct, frozen=True, gc=False):
    """Go on with a chain as one of another `history` of its producer, which has the same up to the seq `shared`.

    Its mark comes back to there. What was received beyond and is not done is kept aside for `reason`, with an origin
    like `shop/shop.events/3/17`. A chain that is not there is left alone: somebody else has gone on.
    """

    chain: ChainId
    history: UUID
    shared: int
    reason: str


class NoteLoss(msgspec.Struct, frozen=True, gc=False):
    """No producer has the messages of a chain beyond the seq `after`, up to `up_to`, any more; `since` in microseconds.

    One that is noted already, and not passed over, reaches up to there from now on.
    """

    chain: ChainId
    after: int
    up_to: int
    reason: str
    since: int


class PassOver(msgspec.Struct, frozen=True, gc=False):
    """What is noted as lost in `row` is given up by somebody: its chain goes on behind it, or behind so much of it as
    is missing still."""

    row: int
    by: str


class Handled(msgspec.Struct, frozen=True, gc=False):
    """The inbox row is done; it must still be there.

    Below zero `row` is no row, but the number of a message that is done at once: such a unit comes to no store.
    """

    row: int


class HandledAtOnce(msgspec.Struct, frozen=True, gc=False):
    """A message of the service to itself is done with this unit, not delivered: nothing may wait in its line."""

    consumer: str
    key: str


class Retry(msgspec.Struct, frozen=True, gc=False):
    """The inbox row failed and may be tried again from `not_before` (microseconds) on; its key waits with it."""

    row: int
    attempts: int
    not_before: int
    cause: str


class Park(msgspec.Struct, frozen=True, gc=False):
    """The inbox row failed for good: it is set aside with its cause, and its key held or let past."""

    row: int
    attempts: int
    cause: str
    hold: bool


class Unpark(msgspec.Struct, frozen=True, gc=False):
    """A parked inbox row is tried again, first in its line; with `envelope` in place of its own where that is given."""

    row: int
    envelope: bytes | None = None


class Discard(msgspec.Struct, frozen=True, gc=False):
    """A parked inbox row is given up, and its line goes on without it."""

    row: int


class KeepAside(msgspec.Struct, frozen=True, gc=False):
    """What cannot be taken in is kept for a person to look at, with where it came from and what is wrong with it."""

    origin: str
    reason: str
    data: bytes


class ArmTimer(msgspec.Struct, frozen=True, gc=False):
    """Deliver an envelope to one of this service's own consumers, or publish it to a topic, when `due` has come.

    A timer of the same name is replaced. `due` is in microseconds since 1970-01-01T00:00:00Z.
    """

    name: str
    due: int
    message: Deliver | Publish


class DisarmTimer(msgspec.Struct, frozen=True, gc=False):
    """Forget a timer, if it is still armed; where `due` is named it must be armed, and for that moment."""

    name: str
    due: int | None = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The one answer to an idempotent request: `scope` names tenant, principal, route and key.

    `fingerprint` tells one body from another; `expires` is in microseconds since 1970-01-01T00:00:00Z.
    """

    scope: str
    fingerprint: bytes
    response: bytes
    expires: int


class Forget(msgspec.Struct, frozen=True, gc=False):
    """Keep the answer of this scope no longer, if there is one."""

    scope: str


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """The state of an aggregate at a version, so that loading need not begin at its first event."""

    stream: str
    version: int
    schema: int
    data: bytes


class Write(msgspec.Struct, frozen=True, gc=False):
    """One SQL statement on a read model, ready for the driver; `must_hit` when it may not miss its row."""

    sql: str
    parameters: Sequence[Any]
    must_hit: bool = False


class WriteMany(msgspec.Struct, frozen=True, gc=False):
    """One SQL statement on a read model for many rows; `must_hit` when none of them may be missed."""

    sql: str
    rows: Sequence[Sequence[Any]]
    must_hit: bool = False


class Advance(msgspec.Struct, frozen=True, gc=False):
    """A projection's checkpoint moves from log position `before`, where it must stand, to `after`."""

    projection: str
    before: int
    after: int


class Defer(msgspec.Struct, frozen=True, gc=False):
    """Remember one of those who wait for an outcome that is known only later, under `key`."""

    key: str
    reply_to: str
    reply_key: str


class Settle(msgspec.Struct, frozen=True, gc=False):
    """Forget one who waits under `key`: the answer leaves with this unit."""

    key: str
    reply_to: str
    reply_key: str


Effect = (
    Append
    | Expect
    | Publish
    | Deliver
    | Relayed
    | Receive
    | Succeed
    | NoteLoss
    | PassOver
    | Handled
    | HandledAtOnce
    | Retry
    | Park
    | Unpark
    | Discard
    | KeepAside
    | ArmTimer
    | DisarmTimer
    | Answer
    | Forget
    | Snapshot
    | Write
    | WriteMany
    | Advance
    | Defer
    | Settle
)


class Unit(msgspec.Struct, gc=False):
    """All that is committed together, or not at all, and why it happened.

    `time` is in microseconds since 1970-01-01T00:00:00Z. `followers` are the units of messages that are done at once,
    and have neither a fence nor SQL nor followers of their own.
    """

    time: int
    correlation_id: UUID
    causation_id: UUID | None = None
    principal: str | None = None
    effects: list[Effect] = msgspec.field(default_factory=list)
    fence: Fence | None = None
    followers: Sequence["Unit"] = ()


def at_once(effects: Sequence[Effect]) -> int | None:
    """The number of the message that is done at once by what begins with these effects, if it is one."""
    first = effects[0] if effects else None
    return -first.row if type(first) is Handled and first.row < 0 else None
