"""What can be done to a system from outside, as data."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

__all__ = [
    "MOST_INSTANCES",
    "DiscardDeadLetters",
    "ListProjections",
    "Operation",
    "OperationFailed",
    "PassOverLost",
    "RebuildProjection",
    "ReplaceInstances",
    "RetryDeadLetters",
    "ScaleService",
    "SteerSaga",
]


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


class PassOverLost(_Operation, frozen=True, tag=True, forbid_unknown_fields=True):
    """Let chains go on behind what is noted as lost in `rows`, as no producer has it any more; `by` decides that."""

    rows: tuple[int, ...]
    by: str


class ListProjections(_Operation, frozen=True, tag=True, forbid_unknown_fields=True):
    """Tell how far each projection is."""


class RebuildProjection(_Operation, frozen=True, tag=True, forbid_unknown_fields=True):
    """Fill a projection's tables anew from the log, beside the ones in use, and switch."""

    projection: str


class SteerSaga(_Operation, frozen=True, tag=True, forbid_unknown_fields=True):
    """Take a stuck saga further by hand.

    `retry` asks again for what is outstanding or could not be undone, `skip` counts the outstanding `step` as done,
    `compensate` undoes what was done, `close` ends it as it stands.
    """

    saga: str
    id: UUID
    action: Literal["retry", "skip", "compensate", "close"] = "retry"
    step: str | None = None


MOST_INSTANCES = 64
"""Of one service."""


class ScaleService(_Operation, frozen=True, tag=True, forbid_unknown_fields=True):
    """Let a service of a fleet have so many instances."""

    instances: Annotated[int, msgspec.Meta(ge=1, le=MOST_INSTANCES)]


class ReplaceInstances(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Start the instances of a service of a fleet, or of all, anew, one after the other."""

    service: str | None = None


Operation = (
    RetryDeadLetters
    | DiscardDeadLetters
    | PassOverLost
    | ListProjections
    | RebuildProjection
    | SteerSaga
    | ScaleService
    | ReplaceInstances
)
