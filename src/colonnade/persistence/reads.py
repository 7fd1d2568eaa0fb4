"""Reading and writing the service's tables: the ports of query handlers and command handlers."""

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, TypeVarTuple
from uuid import UUID

import msgspec
from sqlalchemy import Row
from sqlalchemy.sql.selectable import TypedReturnsRows

from colonnade.application.writes import Write

__all__ = ["ReadsMade", "Reads", "RequiredPosition", "StaleRead", "Tables", "reads_made", "required_position"]

Ts = TypeVarTuple("Ts")


class RequiredPosition(msgspec.Struct, frozen=True, gc=False):
    """What a caller has seen: a position of one service's log, in one history."""

    service: str
    history: UUID
    position: int


required_position: ContextVar[RequiredPosition | None] = ContextVar("colonnade.required_position", default=None)
"""Up to where the read models must have come for the query at hand."""


class ReadsMade:
    """What the query at hand has read, for whoever keeps its answer."""

    __slots__ = ("_positions", "tables")

    def __init__(self) -> None:
        self.tables: set[str] = set()
        """The tables that it read, each as `service.table`."""
        self._positions: dict[str, int] = {}

    def add(self, service: str, tables: Iterable[str], position: int | None) -> None:
        """Note tables that were read together, complete up to `position`; None where no projection fills them."""
        self.tables.update([f"{service}.{table}" for table in tables])
        if position is not None:
            self._positions[service] = min(position, self._positions.get(service, position))

    def position(self, service: str) -> int:
        """The position of a service's log up to which all that was read of it is complete; 0 where nobody can say."""
        return self._positions.get(service, 0)


reads_made: ContextVar[ReadsMade | None] = ContextVar("colonnade.reads_made", default=None)
"""Where the reads of the query at hand are noted."""


class StaleRead(Exception):
    """The read model has not come as far as the caller has seen."""

    def __init__(self, projection: str, position: int, required: int) -> None:
        super().__init__(projection, position, required)
        self.projection, self.position, self.required = projection, position, required

    def __str__(self) -> str:
        return (
            f"{self.projection} has been written up to {self.position}, {self.required} is asked for; try again soon."
        )


class Reads(Protocol):
    """Answers SQLAlchemy's statements over the service's tables, never older than what the caller has seen.

    A statement that is asked often is best written once, in the module, with a `bindparam` for each of `values`.
    Rows have their columns as attributes. All three methods raise `StaleRead` where a projection is behind the caller,
    and `QueryFailed` for a statement that the database does not take.
    """

    async def all(
        self, statement: TypedReturnsRows[*Ts], values: Mapping[str, Any] | None = None
    ) -> Sequence[Row[*Ts]]:
        """All rows."""

    async def first(self, statement: TypedReturnsRows[*Ts], values: Mapping[str, Any] | None = None) -> Row[*Ts] | None:
        """The first row, or None."""

    async def one(self, statement: TypedReturnsRows[*Ts], values: Mapping[str, Any] | None = None) -> Row[*Ts]:
        """The only row; raises `sqlalchemy.exc.NoResultFound` or `MultipleResultsFound`."""


class Tables(Protocol):
    """Writes rows of the service's own tables, those that no projection owns, with the command at hand."""

    def write(self, *writes: Write) -> None:
        """Let `writes` happen when this unit of work is committed, in their order."""
