"""Reading read models: statements over the tables that the service declares."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Select

from colonnade.application.writes import Write

__all__ = ["Reads", "RequiredPosition", "StaleRead", "Tables", "required_position"]


@dataclass(frozen=True, slots=True)
class RequiredPosition:
    """What a caller has seen: a position of one service's log, in one history."""

    service: str
    history: UUID
    position: int


required_position: ContextVar[RequiredPosition | None] = ContextVar("colonnade.required_position", default=None)
"""Up to where the read models must have come for the query at hand."""


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
    """Answers statements over the service's tables, never older than what the caller has seen."""

    async def all(self, statement: Select[*tuple[Any, ...]]) -> Sequence[Any]:  # Any: rows have the columns' types
        """All rows, each with its columns as attributes; raises `StaleRead`."""

    async def first(self, statement: Select[*tuple[Any, ...]]) -> Any:  # Any: as above
        """The first row, or None; raises `StaleRead`."""


class Tables(Protocol):
    """Writes rows of the service's own tables with the command at hand."""

    def write(self, *writes: Write) -> None:
        """Let `writes` happen when this unit of work is committed, in their order."""
