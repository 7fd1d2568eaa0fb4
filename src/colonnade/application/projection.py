"""Projections: read models derived from the service's own log (Young, CQRS)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, Literal, TypeVar

from sqlalchemy import Table

from colonnade.application.writes import Write
from colonnade.messages import Event, Metadata

__all__ = ["Projection"]

E = TypeVar("E", bound=Event)


class Projection(ABC, Generic[E]):
    """Turns events of its own service into rows; pure, so it can be rebuilt at any time.

    `tables` are the tables that it owns: nobody else writes them. Raise `version` when the meaning of `on` changes;
    its tables are then filled anew from the whole log beside the old ones, as they are when `tables` or the events
    that it takes change.

    An event that it cannot take stops it, and is told as a state of health. Where every row belongs to the events of
    one stream, `poison = "hold stream"` sets aside that stream alone, until a person or a restart lets it be tried
    again.
    """

    tables: ClassVar[Sequence[Table]]
    version: ClassVar[int] = 1
    poison: ClassVar[Literal["stop", "hold stream"]] = "stop"

    @abstractmethod
    def on(self, event: E, meta: Metadata, /) -> Write | Sequence[Write] | None:
        """The writes that `event` means; no clock, no reads, no generated ids.

        Writes on one row take effect in the order of the log; of those on different rows only the outcome counts.
        """
