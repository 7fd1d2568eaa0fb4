"""The collection of all aggregates of one kind (Evans, Repository)."""

from collections.abc import Iterable
from typing import Protocol, TypeVar
from uuid import UUID

from colonnade.domain import NotFound
from colonnade.domain.aggregate import AnyAggregate

__all__ = ["AggregateNotFound", "Repository"]

A = TypeVar("A", bound=AnyAggregate)


class AggregateNotFound(NotFound):
    """There is no aggregate of that kind and identity."""

    aggregate: str
    id: UUID | str | int


class Repository(Protocol[A]):
    """Loads aggregates for one command and collects what they record into its unit of work.

    Commands on one aggregate queue before they load it, so that each decides on the state that the one before left.
    """

    async def get(self, id: UUID | str | int) -> A:
        """The aggregate; raises `AggregateNotFound`."""

    async def find(self, id: UUID | str | int) -> A | None:
        """The aggregate, or None."""

    async def find_all(self, ids: Iterable[UUID | str | int]) -> list[A | None]:
        """The aggregates in the order of `ids`, loaded together."""

    def add(self, aggregate: A) -> None:
        """Take in a new aggregate, whose recorded events start its stream."""
