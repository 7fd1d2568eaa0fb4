"""What can be done to a system from outside, as data."""

import msgspec

__all__ = ["DiscardDeadLetters", "Operation", "OperationFailed", "RebuildProjection", "RetryDeadLetters", "RetrySaga"]


class OperationFailed(Exception):
    """An operation that could not be carried out: what is missing or in the way, and what to do."""


class _Operation(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    service: str


class RetryDeadLetters(_Operation, frozen=True, tag=True, forbid_unknown_fields=True):
    """Try parked messages again: those of `rows`, or all that fit `consumer` and `key` where these are given.

    `data` replaces the message of the one row that is named.
    """

    rows: tuple[int, ...] = ()
    consumer: str | None = None
    key: str | None = None
    data: msgspec.Raw | None = None


class DiscardDeadLetters(_Operation, frozen=True, tag=True, forbid_unknown_fields=True):
    """Give the parked messages of `rows` up."""

    rows: tuple[int, ...]


class RebuildProjection(_Operation, frozen=True, tag=True, forbid_unknown_fields=True):
    """Fill a projection's tables anew from the log, beside the ones in use, and switch."""

    projection: str


class RetrySaga(_Operation, frozen=True, tag=True, forbid_unknown_fields=True):
    """Let a stuck saga try its last step again."""

    saga: str
    key: str


Operation = RetryDeadLetters | DiscardDeadLetters | RebuildProjection | RetrySaga
