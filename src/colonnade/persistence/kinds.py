"""What the store needs to know of a kind of aggregate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from colonnade.domain.aggregate import AnyAggregate
from colonnade.world import text_of

__all__ = ["AggregateKind", "SnapshotCodec"]

A = TypeVar("A", bound=AnyAggregate)
T_contra = TypeVar("T_contra", bound=AnyAggregate, contravariant=True)


class SnapshotCodec(Protocol[T_contra]):
    """Turns the state of an aggregate into JSON and back."""

    @property
    def schema(self) -> int:
        """Identifies the shape of the state; a snapshot of another shape is passed over."""

    def encode(self, aggregate: T_contra) -> bytes:
        """The state as JSON."""

    def restore(self, aggregate: T_contra, data: bytes, version: int) -> None:
        """Put a new aggregate into the state that it had at `version`."""


@dataclass(frozen=True, slots=True)
class AggregateKind(Generic[A]):
    """A class of aggregates, the first part of its streams' names, and how its state is kept, if it is.

    `make` gives the aggregate of an identity before its first event. A snapshot is taken whenever another
    `snapshot_every` events have been stored.
    """

    type: type[A]
    make: Callable[[UUID | str | int], A]
    category: str
    snapshots: SnapshotCodec[A] | None = None
    snapshot_every: int = 0

    def stream(self, id: UUID | str | int) -> str:
        """The name of the stream of the aggregate `id`."""
        return f"{self.category}/{text_of(id)}"
