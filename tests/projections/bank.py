"""A small service for tests: accounts and their balances."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Protocol
from uuid import UUID

import pytest
from sqlalchemy import Boolean, Column, DateTime, Index, Integer, MetaData, Numeric, String, Table, Uuid, select

from colonnade.application import Ids, Projection, Repository, Write, change, increment, insert, upsert
from colonnade.domain import Aggregate
from colonnade.messages import Command, Event, Metadata, Query
from colonnade.persistence import DataDirectory, Reads, Tables
from colonnade.persistence.store import Store
from colonnade.presentation import Api, Get, Post
from colonnade.system import Service, System
from colonnade.system.engines import embedded_engines
from colonnade.testing import RunningSystem, running_system
from colonnade.world import real_world

from .homes import Home


class AccountOpened(Event):
    """An account is there."""

    owner: str


class Deposited(Event):
    """Money came in."""

    cents: int


class Cursed(Event):
    """Something that the projection cannot take."""


class Account(Aggregate[AccountOpened | Deposited | Cursed]):
    """An account."""

    def apply(self, event: AccountOpened | Deposited | Cursed) -> None:
        """Keep nothing."""


class OpenAccount(Command[UUID]):
    """Open an account."""

    owner: str


class Deposit(Command):
    """Pay in."""

    account_id: UUID
    cents: int


class Curse(Command):
    """Record what cannot be projected."""

    account_id: UUID


class BalanceOf(Query[int]):
    """What is on an account."""

    account_id: UUID


class NoteDown(Command):
    """Write into a table of one's own."""

    note: str


class Notes(Query[tuple[str, ...]]):
    """What was noted."""


balances = Table(
    "balances",
    MetaData(),
    Column("account_id", Uuid, primary_key=True),
    Column("owner", String, nullable=False),
    Column("cents", Integer, nullable=False),
    Column("deposits", Integer, nullable=False),
    Column("fee", Numeric, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("rich", Boolean, nullable=False),
    Index("balances_by_owner", "owner"),
)

own = MetaData()
notes = Table("notes", own, Column("note", String, primary_key=True))


class Balances(Projection[AccountOpened | Deposited | Cursed]):
    """One row an account."""

    tables = (balances,)

    def on(self, event: AccountOpened | Deposited | Cursed, meta: Metadata) -> Write | Sequence[Write]:
        """Follow."""
        account_id = UUID(meta.stream.partition("/")[2])
        match event:
            case AccountOpened():
                return upsert(
                    balances,
                    account_id=account_id,
                    owner=event.owner,
                    cents=0,
                    deposits=0,
                    fee=Decimal("0.10"),
                    changed_at=meta.time,
                    rich=False,
                )
            case Deposited():
                return [
                    increment(balances, account_id=account_id, cents=event.cents, deposits=1),
                    change(balances, account_id=account_id, changed_at=meta.time, rich=event.cents > 1000),
                ]
            case Cursed():
                return change(balances, account_id=UUID(int=0), owner="nobody")


@dataclass(frozen=True)
class OpenAccountHandler:
    accounts: Repository[Account]
    ids: Ids

    async def __call__(self, command: OpenAccount) -> UUID:
        account = Account(self.ids.new())
        account.record(AccountOpened(command.owner))
        self.accounts.add(account)
        return account.id


@dataclass(frozen=True)
class DepositHandler:
    accounts: Repository[Account]

    async def __call__(self, command: Deposit) -> None:
        (await self.accounts.get(command.account_id)).record(Deposited(command.cents))


@dataclass(frozen=True)
class CurseHandler:
    accounts: Repository[Account]

    async def __call__(self, command: Curse) -> None:
        (await self.accounts.get(command.account_id)).record(Cursed())


@dataclass(frozen=True)
class BalanceOfHandler:
    reads: Reads

    async def __call__(self, query: BalanceOf) -> int:
        row = await self.reads.first(select(balances.c.cents).where(balances.c.account_id == query.account_id))
        return int(row.cents) if row is not None else -1


@dataclass(frozen=True)
class NoteDownHandler:
    tables: Tables

    async def __call__(self, command: NoteDown) -> None:
        self.tables.write(insert(notes, note=command.note))


@dataclass(frozen=True)
class NotesHandler:
    reads: Reads

    async def __call__(self, query: Notes) -> tuple[str, ...]:
        return tuple(row.note for row in await self.reads.all(select(notes).order_by(notes.c.note)))


@dataclass(frozen=True)
class Row:
    """A row of the balances, as Python knows it."""

    account_id: UUID
    owner: str
    cents: int
    deposits: int
    fee: Decimal
    changed_at: datetime
    rich: bool


def bank(projection: type[Projection[AccountOpened | Deposited | Cursed]] = Balances) -> System:
    """The bank, with its projection or another one."""
    return System(
        "bank",
        [
            Service(
                "accounts",
                handlers=[
                    OpenAccountHandler,
                    DepositHandler,
                    CurseHandler,
                    BalanceOfHandler,
                    NoteDownHandler,
                    NotesHandler,
                ],
                projections=[projection],
                tables=own,
                api=Api(
                    Post("/accounts", OpenAccount, creates="/accounts/{id}"),
                    Post("/accounts/{account_id}/deposits", Deposit),
                    Get("/accounts/{account_id}", BalanceOf),
                ),
            )
        ],
    )


class RunBank(Protocol):
    """Runs the bank on one store, again and again."""

    def __call__(
        self, projection: type[Projection[AccountOpened | Deposited | Cursed]] = Balances
    ) -> AbstractAsyncContextManager[RunningSystem]:
        """For the length of a block."""


@pytest.fixture
def running_bank(home: Home, tmp_path: Path) -> RunBank:
    """Runs the bank on the store in `home`."""

    async def open_store(service: str) -> Store:
        return await home.open()

    def run(
        projection: type[Projection[AccountOpened | Deposited | Cursed]] = Balances,
    ) -> AbstractAsyncContextManager[RunningSystem]:
        world = real_world()
        engines = replace(embedded_engines(DataDirectory(tmp_path), world), open_store=open_store)
        return running_system(bank(projection), tmp_path, world, engines=engines)

    return run
