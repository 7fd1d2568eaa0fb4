"""Projections: read models derived from the service's own log (Young, CQRS)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from sqlalchemy import Table

from colonnade.application.writes import Write
from colonnade.messages import Event, Metadata

__all__ = ["Projection"]

E = TypeVar("E", bound=Event)


class Projection(ABC, Generic[E]):
    """Turns events of its own service into rows; pure, so it can be rebuilt at any time.

    `tables` are the tables that it owns: nobody else writes them. Raise `version` when the meaning of `on` changes;
    tables are then built anew beside the old ones.
    """

    tables: ClassVar[Sequence[Table]]
    version: ClassVar[int] = 1

    @abstractmethod
    def on(self, event: E, meta: Metadata, /) -> Write | Sequence[Write] | None:
        """The writes that `event` means; no clock, no reads, no generated ids."""
