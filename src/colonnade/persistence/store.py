"""The store's port: one database a service, that holds its log, inbox, outbox, timers, leases and read models."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, Protocol
from uuid import UUID

from sqlalchemy.engine.interfaces import Dialect

from colonnade.observability.health import HealthState
from colonnade.persistence.failures import StoredAnswer
from colonnade.persistence.migrations.line import Line
from colonnade.persistence.records import (
    Chain,
    ChainPage,
    Committed,
    DataDirectory,
    Deferral,
    DueMessage,
    DueTimer,
    HorizonHeld,
    KeptAside,
    Lease,
    LeftMessage,
    Loaded,
    Loss,
    OutboxRow,
    OutboxWeight,
    ParkedMessage,
    Sharer,
    StoredEvent,
    StoredMessage,
    Touched,
)
from colonnade.persistence.unit import ChainId, Unit

__all__ = [
    "OLDEST_LOOKS_AT",
    "Chain",
    "ChainPage",
    "Committed",
    "DataDirectory",
    "Deferral",
    "DueMessage",
    "DueTimer",
    "HorizonHeld",
    "InboxRows",
    "KeptAside",
    "Lease",
    "LeftMessage",
    "Loaded",
    "Loss",
    "LossRows",
    "OutboxRow",
    "OutboxWeight",
    "ParkedMessage",
    "Replica",
    "Sharer",
    "Store",
    "StoredEvent",
    "StoredMessage",
    "Touched",
]


class Log(Protocol):
    """The events of a service, in the order of their positions; readers never skip."""

    async def load(self, streams: Sequence[str], *, snapshots: bool) -> Sequence[Loaded]:
        """What the aggregates of `streams` are rebuilt from, in their order; from all events without `snapshots`."""

    async def stream(self, stream: str, after: int = 0, limit: int = 256) -> list[StoredEvent]:
        """Up to `limit` events of `stream` whose version is above `after`, oldest first."""

    async def read(self, after: int = 0, limit: int = 256, names: Collection[str] | None = None) -> list[StoredEvent]:
        """Up to `limit` events whose position is above `after`, of the given stored names or of all."""

    async def page(self, after: int, limit: int, names: Collection[str]) -> tuple[int, list[StoredEvent]]:
        """The log's end, and what `read` gives where that is above `after`: all of these names up to the end, at least,
        unless they are `limit`."""

    async def streams(self, category: str, after: str = "", limit: int = 256) -> list[str]:
        """Up to `limit` names of streams of a category, like `Order`, above the name `after`, in their order."""

    async def end(self) -> int:
        """The position of the last event that readers may see; 0 for an empty log."""

    async def held(self) -> HorizonHeld | None:
        """By whom readers are held back, the oldest of them; None while nobody does."""


class OutboxRows(Protocol):
    """The messages on their way out."""

    async def pending(self, after: int, limit: int) -> list[OutboxRow]:
        """Up to `limit` messages whose seq is above `after`, in order, under the horizon.

        None is passed over. There may be fewer than there are, and none only where there are none: whoever got fewer
        than `limit` is told `Touched.OUTBOX` when there are more, now or later.
        """

    async def relayed(self) -> dict[tuple[str, int], int]:
        """How far each topic's partition has reached the broker."""

    async def ends(self, topics: Collection[str]) -> list[tuple[str, int, int, bool]]:
        """Of `topics`, how far each partition has reached the broker, and whether that message is still here."""

    async def all_left_up_to(self) -> int:
        """A seq up to which every message has reached the broker: who relays begins behind it, whatever is kept."""

    async def of_chain(self, topic: str, partition: int, after: int, limit: int) -> ChainPage:
        """Up to `limit` messages of one chain whose seq is above `after`, and how far the chain has been pruned."""

    async def left(self, limit: int) -> list[LeftMessage]:
        """The first `limit` messages that have reached the broker and are kept, in order."""

    async def weigh(self, after: int, limit: int) -> OutboxWeight:
        """How much the up to `limit` messages above the seq `after` are, in order, under the horizon."""


OLDEST_LOOKS_AT = 1_000
"""Of the messages for one consumer that are tried again so many are looked at for the oldest."""


class InboxRows(Protocol):
    """The messages that came in and are not done."""

    async def chains(self) -> list[Chain]:
        """All chains and their marks."""

    async def early(self, chain: ChainId) -> list[tuple[int, int]]:
        """(seq, prev) of the messages received before one that precedes them, in order."""

    async def due(
        self,
        now: int,
        limit: int,
        *,
        consumer: str | None = None,
        without: Collection[int] = (),
        which: Literal["longest", "newest", "again"] = "longest",
        slots: Collection[int] | None = None,
    ) -> list[DueMessage]:
        """Up to `limit` heads of live keys that may be handled at `now` (microseconds), who was sent first goes first.

        Of one `consumer` only, where it is named, and of keys in `slots` only (`persistence.slots`); the rows in
        `without` are passed over. `newest` are of those that have not been tried yet the ones that were sent last,
        `again` those that have.
        """

    async def oldest(self) -> DueMessage | None:
        """The message that was sent first of those that are first in line, whether they are due or not; not held ones.

        Of those for a consumer that are tried again only the `OLDEST_LOOKS_AT` are looked at whose next try is farthest
        away: they have failed most often.
        """

    async def consumers(self) -> list[str]:
        """The consumers for whom messages wait."""

    async def next_due_after(self, now: int) -> int | None:
        """The earliest moment (microseconds) after `now` at which a waiting head may be handled; None without one."""

    async def unhandled(self) -> int:
        """How many messages are not done, parked ones aside."""

    async def held(self) -> int:
        """How many messages wait behind parked ones that hold their keys."""

    async def parked_count(self) -> int:
        """How many messages are parked."""

    async def parked(self, after: int = 0, limit: int = 100) -> list[ParkedMessage]:
        """Up to `limit` parked messages whose row is above `after`."""

    async def parked_message(self, row: int) -> ParkedMessage | None:
        """One parked message."""

    async def kept_aside(self, after: int = 0, limit: int = 100) -> list[KeptAside]:
        """Up to `limit` of what was kept aside, whose row is above `after`."""

    async def waiting_before(self, consumer: str, key: str, moment: int) -> bool:
        """Whether an unparked message received before `moment` waits for this consumer and key, in the lane "".

        Messages of other services are in that lane."""


class LossRows(Protocol):
    """What is missing and will not come."""

    async def page(self, after: int = 0, limit: int = 100) -> list[Loss]:
        """Up to `limit` of what was noted, whose row is above `after`; what came after all is among it."""

    async def one(self, row: int) -> Loss | None:
        """One of them."""


class Timers(Protocol):
    """Messages that come due later."""

    async def due(self, now: int, limit: int) -> list[DueTimer]:
        """Up to `limit` timers that are due at `now`, earliest first."""

    async def next_due(self) -> int | None:
        """The moment (microseconds) of the earliest timer; None when none is armed."""

    def watch(self, listener: Callable[[int | None], None]) -> None:
        """Call `listener` after every batch of commits that armed timers, on the event loop.

        It is told the earliest of their moments (microseconds), or None where others may have armed some.
        """

    async def names(self, prefix: str, after: str = "", limit: int = 256) -> list[str]:
        """Up to `limit` names of armed timers that begin with `prefix`, above the name `after`, in their order."""


class Leases(Protocol):
    """Rows that say who does a piece of work (Gray and Cheriton, 1989), fenced by epochs."""

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        """Take or renew the lease; None while another owner's has not expired."""

    async def release(self, lease: Lease) -> None:
        """Give the lease up, if it is still held; the store's listeners hear of it (`Touched.SHARES`)."""

    async def release_all(self, owner: str) -> None:
        """Give up all that is held by `owner`, who has ended, its shares as well: nobody need wait for their ends."""

    async def share(
        self, work: str, owner: str, seconds: float, *, take: Collection[int] = (), give: Collection[int] = ()
    ) -> Sequence[Sharer]:
        """Be one of those who share `work` for `seconds` from now, with the parts that are held.

        Of the parts in `take` those that are free are held from now on, those in `give` no more. All who share it are
        told, in the order of their names, as they are then; the store's listeners hear of changes (`Touched.SHARES`).
        """

    async def leave(self, work: str, owner: str) -> None:
        """Share `work` no more: its parts are free at once."""

    async def held(self) -> Collection[str]:
        """The names of the leases that somebody holds now, and of the shared parts, as `work/part`."""


class Versions(Protocol):
    """Lets code in, by line of tables, and remembers who is there."""

    async def enter(self, line: Line) -> None:
        """Begin to use the tables of `line`; raises `CodeTooOld`, `CodeTooNew`, `StoreFailed`.

        Tables that are not there yet are of the version of the code that comes first, which makes them.
        """

    async def renew(self) -> None:
        """Remain registered; raises `CodeTooOld` where the tables went on without this instance, `StoreFailed`."""


class Replica(Protocol):
    """A copy of a store that follows it, for queries alone."""

    @property
    def is_fit(self) -> bool:
        """Whether it follows closely enough to be asked."""

    async def query(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]]:
        """As the store's; raises `StoreFailed` too where it is not fit, or is of another history by now."""

    async def catch_up(self) -> None:
        """Wait until it has all that is committed by now; raises `StoreFailed` where that takes more than a moment."""


class Store(Protocol):
    """All of a service's durable state. Every write is a unit of work; every read a short page."""

    @property
    def history(self) -> UUID:
        """Changed by restore, promotion or recovery to a point in time; positions compare within one history only."""

    @property
    def ended(self) -> Mapping[UUID, int]:
        """The histories before this one, each with the position up to which this one has the same."""

    @property
    def has_server(self) -> bool:
        """Whether a server does the writing, and this process may do something else meanwhile."""

    @property
    def dialect(self) -> Dialect:
        """How SQLAlchemy's tables and statements are put to this engine, with marks for tables (`tables.marking`)."""

    @property
    def log(self) -> Log:
        """The events."""

    @property
    def outbox(self) -> OutboxRows:
        """The messages on their way out."""

    @property
    def inbox(self) -> InboxRows:
        """The messages that came in."""

    @property
    def losses(self) -> LossRows:
        """The messages that will not come."""

    @property
    def timers(self) -> Timers:
        """The messages that come due later."""

    @property
    def leases(self) -> Leases:
        """Who does what alone."""

    @property
    def versions(self) -> Versions:
        """Which code may use the tables."""

    @property
    def replica(self) -> Replica | None:
        """Where queries are read while it is fit."""

    def health(self, service: str) -> Sequence[HealthState]:
        """What hinders the store of `service`."""

    async def commit(self, unit: Unit) -> Committed:
        """Commit all effects of `unit`, or none.

        Raises the `StoreConflict` that made it lose, `MissedRow`, `WriteFailed` or `MessageTooLarge` for a unit that
        can not be written, `StoreFailed` for a database that can not write, `StoreClosed`: then nothing was committed.
        Only `OutcomeUnknown` leaves that open. Units that wait at the same
        time are committed together; one that is refused harms no other. Cancelling the caller never cancels a commit.
        """

    def watch(self, listener: Callable[[Touched], None]) -> None:
        """Call `listener` after every batch of commits, on the event loop, with what the batch added to."""

    async def define(self, statements: Sequence[str]) -> None:
        """Run statements that change the read models' schema, all or none."""

    async def query(self, statements: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]]:
        """The rows of each statement, all read off the loop from one consistent state; raises `QueryFailed`.

        Values are in the driver's own form, as the types of `dialect` know it. It ends when its caller is cancelled.
        """

    async def checkpoint(self, projection: str) -> int:
        """The log position up to which a projection has been written; 0 before the first."""

    async def prune(self, messages: Sequence[int], now: int, limit: int) -> int:
        """Delete from the outbox the `messages` of these seqs, and up to `limit` answers that expired at `now`.

        How many answers went. Messages must have left, and go from the first on: that one of a chain is gone says that
        all before it are.
        """

    async def answers(self, *scopes: str) -> Mapping[str, StoredAnswer]:
        """The answers kept for idempotent requests, by scope; those without one are not in it."""

    async def deferrals(self, key: str) -> Sequence[Deferral]:
        """All who wait under `key`, in the order of `reply_to` and `reply_key`."""

    async def close(self) -> None:
        """Finish what is being committed and let go of the files or connections."""
