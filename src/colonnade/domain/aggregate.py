"""Aggregates: the boundary within which rules hold, rebuilt from its own events (Evans; Fowler, Event Sourcing)."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Generic
from uuid import UUID

from typing_extensions import TypeVar

from colonnade.messages import Event

__all__ = ["Aggregate", "AnyAggregate"]

E = TypeVar("E", bound=Event)
K = TypeVar("K", bound=UUID | str | int, default=UUID)


class AnyAggregate(ABC):
    """An aggregate whose events and identity are not known to the reader."""

    snapshot_every: ClassVar[int] = 0
    """After how many events its state is stored, so that loading need not begin at the first; 0 for never."""

    _version: int
    _recorded: list[Event]

    @property
    def version(self) -> int:
        """How many events its stream holds, as far as this instance has seen; 0 before the first."""
        return self._version

    @property
    def recorded(self) -> Sequence[Event]:
        """The events recorded since it was loaded, not yet stored."""
        return tuple(self._recorded)

    def stored(self) -> None:
        """Take note that all that was recorded is stored now."""
        self._version += len(self._recorded)
        self._recorded.clear()


class Aggregate(AnyAggregate, Generic[E, K]):
    """One consistency boundary: it decides, records events and keeps what later decisions need.

    `Aggregate[OrderPlaced | OrderConfirmed]` declares its events; a second argument declares the type of its identity,
    a UUID unless it says otherwise. Methods check the rules, raise a `Refusal` or `record`; only `apply` changes state.
    """

    id: K

    def __init__(self, id: K) -> None:
        self.id = id
        self._version = 0
        self._recorded = []

    @abstractmethod
    def apply(self, event: E) -> None:
        """Change the state as `event` says; it happened, so there is nothing to refuse."""

    def record(self, event: E) -> None:
        """Decide that `event` happened: it is applied now and stored with the command's other effects."""
        self.apply(event)
        self._recorded.append(event)

    def replay(self, events: Iterable[E]) -> None:
        """Apply events that are stored already, oldest first."""
        apply = self.apply
        for event in events:
            apply(event)
            self._version += 1
