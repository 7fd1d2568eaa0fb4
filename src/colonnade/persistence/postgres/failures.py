"""What PostgreSQL and its driver raise, in the words of the store's port."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import asyncpg

from colonnade.persistence.failures import (
    AlreadyAnswered,
    AlreadyHandled,
    LeaseLost,
    LineBusy,
    MarkMoved,
    NotLost,
    NotParked,
    QueryFailed,
    StoreConflict,
    StoredAnswer,
    StoreFailed,
    TimerGone,
    VersionConflict,
    WriteFailed,
)
from colonnade.persistence.unit import ChainId

__all__ = ["AWAY", "DRIVER_ERRORS", "Broken", "Busy", "Lost", "Overtaken", "query_failure", "write_failure"]

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError, TypeError, TimeoutError)
"""What a statement raises: the server, the driver, the connection, or a value that cannot be put on the wire."""

# Where two transactions meet that add the same version of a stream
_STREAMS = ("events", "events_by_stream")
AWAY = (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError)
"""What who connects meets while the server is away or starting."""

# Serialization failure, deadlock, lock not available
_BUSY = frozenset({"40001", "40P01", "55P03"})
# Data, integrity, syntax or access rule, feature, limits of a program, what a trigger of the user's raises
_REFUSALS = ("22", "23", "42", "0A", "54", "P0")


class Lost(Exception):
    """Units of a batch have lost; `conflicts` says by what, by their place in the batch."""

    def __init__(self, conflicts: Mapping[int, StoreConflict]) -> None:
        super().__init__(conflicts)
        self.conflicts = conflicts


class Busy(StoreFailed):
    """Rows were locked by others for too long; it can be tried again."""


class Overtaken(Busy):
    """Another transaction wrote a stream at the same time; whoever tries again is told by which version it has lost."""


class Broken(StoreFailed):
    """The connection broke, and it is certain that nothing was committed; it can be tried again."""


_Build = Callable[[list[Any]], StoreConflict]


def _chain_moved(loss: list[Any]) -> StoreConflict:
    source, history, topic, partition, expected, actual = loss
    return MarkMoved(f"The chain {ChainId(source, UUID(history), topic, partition)}", expected, actual)


def _answered(loss: list[Any]) -> StoreConflict:
    scope, fingerprint, response = loss
    return AlreadyAnswered(scope, StoredAnswer(bytes.fromhex(fingerprint), bytes.fromhex(response)))


_LOSSES: Mapping[str, _Build] = {
    "CLVER": lambda loss: VersionConflict(*loss),
    "CLHAN": lambda loss: AlreadyHandled(*loss),
    "CLPRK": lambda loss: NotParked(*loss),
    "CLLOS": lambda loss: NotLost(*loss),
    "CLANS": _answered,
    "CLLEA": lambda loss: LeaseLost(*loss),
    "CLLIN": lambda loss: LineBusy(*loss),
    "CLCHN": _chain_moved,
    "CLCHK": lambda loss: MarkMoved(f"The projection {loss[0]}", loss[1], loss[2]),
    "CLTIM": lambda loss: TimerGone(*loss),
}


def write_failure(store: str, error: Exception) -> Lost | StoreFailed:
    """One of `DRIVER_ERRORS` that a unit of work met."""
    state = getattr(error, "sqlstate", None) or ""
    build = _LOSSES.get(state)
    if build is not None:
        # The first of a unit's losses is the one that it is told
        losses = json.loads(getattr(error, "detail", None) or "[]")
        return Lost({unit: build(loss) for unit, *loss in reversed(losses)})
    if (getattr(error, "table_name", None), getattr(error, "constraint_name", None)) == _STREAMS:
        return Overtaken(store, _told(error))
    if state in _BUSY:
        return Busy(store, _told(error))
    if state[:2] in _REFUSALS or _is_unfit_value(error):
        return WriteFailed(store, _told(error))
    return StoreFailed(store, _told(error))


def query_failure(store: str, sql: str, error: Exception) -> QueryFailed | StoreFailed:
    """One of `DRIVER_ERRORS` that a statement met which only reads."""
    state = getattr(error, "sqlstate", None) or ""
    if state[:2] in _REFUSALS or state == "25006" or _is_unfit_value(error):
        return QueryFailed(sql, str(error))
    return StoreFailed(store, _told(error))


def _is_unfit_value(error: Exception) -> bool:
    return isinstance(error, ValueError | TypeError) and not isinstance(error, asyncpg.InterfaceError)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
