"""The box office, version 1: a seat is in a hall, halls count what they have sold, and guests are called otherwise."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, String, Table, func, select

from colonnade.application.writes import insert
from colonnade.persistence import Reads, Tables
from colonnade.presentation import Api, Get, Post
from colonnade.system import Service, System
from tests.migrations.box_office import contracts
from tests.migrations.box_office.contracts import GuestOf, SeatsSold, SellSeat

metadata = MetaData()
seats = Table(
    "seats",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("sold_to", String),
    Column("hall", String, nullable=False, server_default="A"),
    CheckConstraint("hall IN ('A', 'B')", name="known_hall"),
    Index("by_hall", "hall", "number"),
)
receipts = Table(
    "receipts",
    metadata,
    Column("seat", Integer, primary_key=True),
    Column("hall", String, nullable=False),
    Index("receipts_of_hall", "hall"),
)


@dataclass(frozen=True)
class SellSeatHandler:
    """Writes the guest down, in hall B, with a receipt."""

    tables: Tables

    async def __call__(self, command: SellSeat) -> None:
        self.tables.write(
            insert(seats, number=command.number, sold_to=command.guest, hall="B"),
            insert(receipts, seat=command.number, hall="B"),
        )


@dataclass(frozen=True)
class SeatsSoldHandler:
    """Counts by hall."""

    reads: Reads

    async def __call__(self, query: SeatsSold) -> int:
        rows = await self.reads.all(select(seats.c.hall, func.count().label("sold")).group_by(seats.c.hall))
        return sum(int(row.sold) for row in rows)


@dataclass(frozen=True)
class GuestOfHandler:
    """Looks the guest up, with the hall."""

    reads: Reads

    async def __call__(self, query: GuestOf) -> str:
        row = await self.reads.first(select(seats.c.sold_to, seats.c.hall).where(seats.c.number == query.number))
        assert row is not None
        assert row.hall in ("A", "B")
        return str(row.sold_to)


api = Api(Post("/seats", SellSeat), Get("/seats", SeatsSold), Get("/seats/{number}", GuestOf))
tickets = Service(
    "tickets",
    contracts=contracts,
    handlers=[SellSeatHandler, SeatsSoldHandler, GuestOfHandler],
    tables=metadata,
    migrations=Path(__file__).parent / "migrations",
    api=api,
)
office = System("office", [tickets])
