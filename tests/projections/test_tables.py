"""Which tables can be read models, and whose they are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    Interval,
    MetaData,
    Numeric,
    Table,
)

from colonnade.persistence.tables.declared import UnfitTable, check_table
from colonnade.persistence.tables.models import ReadModels, TableChanged, TableOwnedTwice
from colonnade.world import real_world

from .homes import Home


def table(*columns: Any, **options: Any) -> Table:
    """A table with a key and what else is given."""
    return Table("t", MetaData(), Column("id", Integer, primary_key=True), *columns, **options)


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        (Table("t", MetaData(), Column("a", Integer)), "it has no primary key"),
        (table(Column("at", DateTime)), "its column at holds times without a zone"),
        (table(Column("a", Interval)), "its column a holds an interval"),
        (table(Column("a", Numeric(asdecimal=False))), "its column a holds floats in a Numeric"),
        (table(Column("a", Integer, default=3)), "its column a has a default that Python computes"),
        (table(Column("a", Integer, ForeignKey("u.id"))), "it has foreign keys"),
        (table(schema="sales"), "it names the schema sales"),
        (Table("t-1", MetaData(), Column("id", Integer, primary_key=True)), "its name is no identifier"),
    ],
)
def test_a_table_that_cannot_be_a_read_model_is_refused(unfit: Table, reason: str) -> None:
    """With the reason, and what to write instead."""
    with pytest.raises(UnfitTable, match=f"cannot be a read model: {reason}"):
        check_table(unfit)


@asynccontextmanager
async def models(home: Home) -> AsyncIterator[ReadModels]:
    """The read models of the store in `home`."""
    store = await home.open()
    try:
        yield ReadModels("sales", store, real_world())
    finally:
        await store.close()


async def test_a_service_s_own_tables_keep_their_shape(home: Home) -> None:
    """They are made once; another shape is refused by name, since what they hold cannot be made anew."""
    for _ in range(2):
        async with models(home) as each:
            await each.own([table(Column("a", Integer, server_default="3"), CheckConstraint("a > 2"))])
    async with models(home) as each:
        with pytest.raises(TableChanged, match="Table t of sales was made with other columns, keys or indexes"):
            await each.own([table(Column("a", Integer))])


async def test_a_table_has_one_owner(home: Home) -> None:
    """Two writers of one table would undo each other."""
    async with models(home) as each:
        await each.own([table()])
        with pytest.raises(TableOwnedTwice, match="Table t belongs to the service sales and to the service sales"):
            await each.own([table()])


async def test_tables_may_be_called_like_those_of_the_store(home: Home) -> None:
    """They are tables of their own all the same."""
    async with models(home) as each:
        await each.own(
            [Table(name, MetaData(), Column("id", Integer, primary_key=True)) for name in ("events", "inbox")]
        )
        assert await each.store.log.end() == 0
