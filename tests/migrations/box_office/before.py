"""The box office, version 0."""

from dataclasses import dataclass

from sqlalchemy import Column, Integer, MetaData, String, Table, func, select

from colonnade.application.writes import insert
from colonnade.persistence import Reads, Tables
from colonnade.presentation import Api, Get, Post
from colonnade.system import Service, System
from tests.migrations.box_office import contracts
from tests.migrations.box_office.contracts import GuestOf, SeatsSold, SellSeat

metadata = MetaData()
seats = Table("seats", metadata, Column("number", Integer, primary_key=True), Column("sold_to", String, nullable=False))


@dataclass(frozen=True)
class SellSeatHandler:
    """Writes the guest down."""

    tables: Tables

    async def __call__(self, command: SellSeat) -> None:
        self.tables.write(insert(seats, number=command.number, sold_to=command.guest))


@dataclass(frozen=True)
class SeatsSoldHandler:
    """Counts."""

    reads: Reads

    async def __call__(self, query: SeatsSold) -> int:
        row = await self.reads.first(select(func.count().label("sold")).select_from(seats))
        assert row is not None
        return int(row.sold)


@dataclass(frozen=True)
class GuestOfHandler:
    """Looks the guest up."""

    reads: Reads

    async def __call__(self, query: GuestOf) -> str:
        row = await self.reads.first(select(seats.c.sold_to).where(seats.c.number == query.number))
        assert row is not None
        return str(row.sold_to)


api = Api(Post("/seats", SellSeat), Get("/seats", SeatsSold), Get("/seats/{number}", GuestOf))
tickets = Service(
    "tickets",
    contracts=contracts,
    handlers=[SellSeatHandler, SeatsSoldHandler, GuestOfHandler],
    tables=metadata,
    api=api,
)
office = System("office", [tickets])
