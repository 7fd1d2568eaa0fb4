"""Baking: the bakery's own service."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Column, Integer, MetaData, Table, Uuid, select

from colonnade.application import AggregateNotFound, Ids, Plan, Repository, Saga, Step
from colonnade.application.projection import Projection
from colonnade.application.writes import RowWrite, insert
from colonnade.domain import Aggregate, Invalid
from colonnade.messages import Command, Metadata, Positive, Query, Value
from colonnade.persistence import Reads
from colonnade.presentation import Api, Get, Post
from colonnade.system import Service
from tests.example.bakery.baking import contracts
from tests.example.bakery.baking.contracts import BreadBaked
from tests.example.bakery.selling.contracts import ClearShelf, StockShelf

__all__ = ["service"]


class TooManyLoaves(Invalid):
    """The oven takes a hundred loaves."""

    loaves: int


class Batch(Aggregate[BreadBaked]):
    """What was in the oven together."""

    loaves: int

    def bake(self, loaves: int) -> None:
        """Bake."""
        if loaves > 100:
            raise TooManyLoaves(loaves)
        self.record(BreadBaked(self.id, loaves))

    def apply(self, event: BreadBaked) -> None:
        """Follow what happened."""
        self.loaves = event.loaves


class Bake(Command[UUID]):
    """Bake some loaves."""

    loaves: Positive


@dataclass(frozen=True)
class BakeHandler:
    """Bakes."""

    batches: Repository[Batch]
    ids: Ids

    async def __call__(self, command: Bake) -> UUID:
        """Bake."""
        batch = Batch(self.ids.new())
        batch.bake(command.loaves)
        self.batches.add(batch)
        return batch.id


class BatchView(Value):
    """A batch as it is shown."""

    batch_id: UUID
    loaves: int


class BatchById(Query[BatchView]):
    """One batch."""

    batch_id: UUID


metadata = MetaData()
batches = Table(
    "batches",
    metadata,
    Column("batch_id", Uuid, primary_key=True),
    Column("loaves", Integer, nullable=False),
)


class Batches(Projection[BreadBaked]):
    """One row a batch."""

    tables = (batches,)

    def on(self, event: BreadBaked, meta: Metadata) -> RowWrite:
        """A new row."""
        return insert(batches, batch_id=event.batch_id, loaves=event.loaves)


@dataclass(frozen=True)
class BatchByIdHandler:
    """Reads a batch."""

    reads: Reads

    async def __call__(self, query: BatchById) -> BatchView:
        """Read."""
        row = await self.reads.first(select(batches).where(batches.c.batch_id == query.batch_id))
        if row is None:
            raise AggregateNotFound("Batch", query.batch_id)
        return BatchView(row.batch_id, row.loaves)


class SellBread(Saga[BreadBaked]):
    """Put what was baked on the shelf."""

    def plan(self, event: BreadBaked) -> Plan:
        """One step."""
        of = event.batch_id
        return Plan(Step("stock shelf", StockShelf(of, event.loaves), undo=ClearShelf(of)))

    def key(self, event: BreadBaked) -> UUID:
        """Known by its batch."""
        return event.batch_id


service = Service(
    "baking",
    contracts=contracts,
    handlers=[BakeHandler, BatchByIdHandler],
    sagas=[SellBread],
    projections=[Batches],
    api=Api(
        Post("/batches", Bake, creates="/batches/{id}", example=Bake(12)),
        Get("/batches/{batch_id}", BatchById),
    ),
)
