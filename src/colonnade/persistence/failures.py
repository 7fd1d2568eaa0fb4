"""How a store says no: units of work that lose or are refused, and databases that cannot do what they are asked."""

import msgspec

__all__ = [
    "AlreadyAnswered",
    "AlreadyHandled",
    "LeaseLost",
    "LineBusy",
    "MarkMoved",
    "MessageTooLarge",
    "MissedRow",
    "NotLost",
    "NotAtOnce",
    "NotParked",
    "OutcomeUnknown",
    "QueryFailed",
    "StoreAway",
    "StoreClosed",
    "StoreConflict",
    "StoreFailed",
    "StoredAnswer",
    "TimerGone",
    "VersionConflict",
    "WriteFailed",
]


class StoreConflict(Exception):
    """A unit of work that lost against another one; nothing of it was committed."""


class VersionConflict(StoreConflict):
    """The stream is not at the expected version: somebody else wrote it first."""

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(stream, expected, actual)
        self.stream, self.expected, self.actual = stream, expected, actual

    def __str__(self) -> str:
        return f"Stream {self.stream} is at version {self.actual}, not {self.expected}; load it again and retry."


class AlreadyHandled(StoreConflict):
    """The inbox row is gone: another worker has handled it."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row

    def __str__(self) -> str:
        return f"Inbox row {self.row} has been handled already; there is nothing left to do."


class StoredAnswer(msgspec.Struct, frozen=True, gc=False):
    """The answer that an idempotent request got, and the fingerprint of the body it was given for."""

    fingerprint: bytes
    response: bytes


class AlreadyAnswered(StoreConflict):
    """The idempotent request has been answered meanwhile, by a duplicate of it."""

    def __init__(self, scope: str, answer: StoredAnswer) -> None:
        super().__init__(scope, answer)
        self.scope, self.answer = scope, answer

    def __str__(self) -> str:
        return f"Request {self.scope} has been answered already; give the same answer."


class LeaseLost(StoreConflict):
    """The lease has a newer epoch: another owner has taken over."""

    def __init__(self, lease: str, epoch: int) -> None:
        super().__init__(lease, epoch)
        self.lease, self.epoch = lease, epoch

    def __str__(self) -> str:
        return f"Lease {self.lease} is no longer held at epoch {self.epoch}; stop working under it."


class LineBusy(StoreConflict):
    """A message was to be done at once, and others wait in its line."""

    def __init__(self, consumer: str, key: str) -> None:
        super().__init__(consumer, key)
        self.consumer, self.key = consumer, key

    def __str__(self) -> str:
        return f"Messages of {self.key} wait for {self.consumer}; take this one into the inbox, behind them."


class MarkMoved(StoreConflict):
    """A chain's mark or a projection's checkpoint is not where it was expected: another process moved it."""

    def __init__(self, mark: str, expected: int, actual: int) -> None:
        super().__init__(mark, expected, actual)
        self.mark, self.expected, self.actual = mark, expected, actual

    def __str__(self) -> str:
        return f"{self.mark} stands at {self.actual}, not {self.expected}; read it again."


class NotAtOnce(Exception):
    """A message cannot be done at once: what its handler did comes to nothing, and it goes into the inbox."""


class NotParked(StoreConflict):
    """The inbox row is not parked: it was retried, discarded or handled meanwhile."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row

    def __str__(self) -> str:
        return f"Message {self.row} is not parked; list the dead letters again."


class NotLost(StoreConflict):
    """What was noted as lost in the row is no hole of its chain: it came after all, or was passed over meanwhile."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row

    def __str__(self) -> str:
        return f"Row {self.row} tells of no hole that is still there; list what is lost again."


class TimerGone(StoreConflict):
    """The timer is not armed for that moment: it was disarmed, set anew or fired meanwhile."""

    def __init__(self, timer: str) -> None:
        super().__init__(timer)
        self.timer = timer

    def __str__(self) -> str:
        return f"Timer {self.timer} is not armed for that moment any more; there is nothing to fire."


class StoreFailed(Exception):
    """The database could not do what it was asked: the disk is full, a file is damaged, a server is away."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(store, reason)
        self.store, self.reason = store, reason

    def __str__(self) -> str:
        return f"The store {self.store} failed: {self.reason}."


class StoreAway(StoreFailed):
    """The database cannot be reached now: it is away, or starting. It may be there a moment later."""


class OutcomeUnknown(StoreFailed):
    """The database went away while a unit was committed: it may have been kept, and may not. Nobody knows as yet."""

    def __str__(self) -> str:
        return (
            f"The store {self.store} went away while it committed, and whether it has is not known ({self.reason}); "
            "ask again with the same Idempotency-Key, or look before you do it once more."
        )


class StoreClosed(Exception):
    """The store was closed before it was asked."""

    def __str__(self) -> str:
        return "The store has been closed; nothing can be committed to it any more."


class WriteFailed(StoreFailed):
    """The database refused what one unit of work wanted to write: a constraint, a type, SQL that it does not know."""

    def __str__(self) -> str:
        return f"The store {self.store} refused a write: {self.reason}; nothing of its unit of work was kept."


class MissedRow(Exception):
    """A write that must change a row found none."""

    def __init__(self, sql: str) -> None:
        super().__init__(sql)
        self.sql = sql

    def __str__(self) -> str:
        return f"No row was there to change for: {self.sql}"


class QueryFailed(Exception):
    """The database does not take a statement that reads."""

    def __init__(self, sql: str, reason: str) -> None:
        super().__init__(sql, reason)
        self.sql, self.reason = sql, reason

    def __str__(self) -> str:
        return f"The database does not take this query ({self.reason}): {self.sql}"


class MessageTooLarge(Exception):
    """A message is larger than a broker may carry."""

    def __init__(self, name: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(name, size_bytes, limit_bytes)
        self.name, self.size_bytes, self.limit_bytes = name, size_bytes, limit_bytes

    def __str__(self) -> str:
        return f"{self.name} has {self.size_bytes} bytes, {self.limit_bytes} are allowed; send a reference instead."
