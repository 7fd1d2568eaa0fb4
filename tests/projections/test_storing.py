"""What goes into a read model comes back the same, and compares as it should."""

import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Enum,
    Executable,
    Float,
    ForeignKey,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Time,
    Uuid,
    func,
    select,
)
from sqlalchemy.exc import CompileError

from colonnade.application.writes import RowWrite, change, increment, insert, upsert
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.sqlite.decimals import add_decimals
from colonnade.persistence.sqlite.dialect import sqlite_dialect
from colonnade.persistence.tables.compiling import UnstorableValue, WriteCompiler
from colonnade.persistence.tables.declared import UnfitTable, check_table, definitions
from colonnade.persistence.tables.marking import placed
from colonnade.persistence.tables.models import ReadModels, TableChanged, TableOwnedTwice
from colonnade.persistence.tables.statements import Statements
from colonnade.persistence.unit import WriteMany
from colonnade.world import real_world


class State(enum.Enum):
    """How it stands."""

    OPEN = "is open"
    SHUT = "is shut"


everything = Table(
    "everything",
    MetaData(),
    Column("id", Uuid, primary_key=True),
    Column("text", String),
    Column("whole", BigInteger),
    Column("real", Float),
    Column("exact", Numeric),
    Column("money", Numeric(12, 2)),
    Column("yes", Boolean),
    Column("moment", DateTime(timezone=True)),
    Column("day", Date),
    Column("hour", Time),
    Column("state", Enum(State)),
    Column("tree", JSON),
    Column("bytes", LargeBinary),
    Column("other", Uuid(as_uuid=False)),
    Index("everything_by_exact", "exact"),
)
DIALECT = sqlite_dialect()


class Memory:
    """A database in memory that holds `everything`."""

    def __init__(self) -> None:
        self._connection = apsw.Connection(":memory:")
        add_decimals(self._connection)
        self._compiler = WriteCompiler(DIALECT, str)
        self._statements = Statements(DIALECT)
        for statement in definitions(everything, DIALECT):
            self._connection.execute(placed(statement, str))

    def write(self, *writes: RowWrite) -> None:
        """Write at once."""
        for effect in self._compiler.compile(writes):
            assert isinstance(effect, WriteMany)
            self._connection.executemany(effect.sql, effect.rows)

    def read(self, statement: Executable, **values: Any) -> list[tuple[Any, ...]]:
        """All rows."""
        prepared = self._statements.prepare(statement, values)
        rows = self._connection.execute(prepared.sql(str), prepared.parameters).fetchall()
        return [tuple(row) for row in prepared.rows(rows)]

    def clear(self) -> None:
        """Hold nothing."""
        self._connection.execute('DELETE FROM "everything"')


@pytest.fixture(scope="module")
def memory() -> Memory:
    """One database for all examples."""
    return Memory()


KEY = UUID(int=7)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=None)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts, lambda t: st.lists(t) | st.dictionaries(texts, t)
)
rows = st.fixed_dictionaries(
    {"id": st.uuids()},
    optional={
        "text": texts | st.none(),
        "whole": st.integers(-(1 << 63), (1 << 63) - 1) | st.none(),
        "real": st.floats(allow_nan=False),
        "exact": decimals | st.none(),
        "money": st.decimals(-9_999_999, 9_999_999, places=2),
        "yes": st.booleans() | st.none(),
        "moment": st.datetimes(timezones=st.timezones() | st.just(UTC)) | st.none(),
        "day": st.dates() | st.none(),
        "hour": st.times() | st.none(),
        "state": st.sampled_from(State) | st.none(),
        "tree": trees.filter(lambda tree: tree is not None),
        "bytes": st.binary() | st.none(),
        "other": st.uuids().map(str) | st.none(),
    },
)


@given(rows)
def test_every_value_comes_back_as_it_went_in(memory: Memory, row: dict[str, Any]) -> None:
    """To the last digit and microsecond; moments in UTC."""
    memory.write(upsert(everything, **row))
    (found,) = memory.read(select(everything).where(everything.c.id == row["id"]))
    values = dict(zip(everything.columns.keys(), found, strict=True))
    for name, given_value in row.items():
        # In UTC, since a time of day that a zone skips or has twice equals none of another zone
        same = given_value.astimezone(UTC) if isinstance(given_value, datetime) else given_value
        assert values[name] == same
        assert type(values[name]) is type(given_value)
        if isinstance(given_value, Decimal):
            assert str(values[name]) == str(given_value)
        if isinstance(given_value, datetime):
            assert values[name].tzinfo is UTC


@given(st.lists(decimals, min_size=1, max_size=6), decimals)
def test_decimals_compare_and_sort_as_numbers(memory: Memory, some: list[Decimal], mark: Decimal) -> None:
    """Not as text, and not as floats: in conditions, orders, groups, the least and the greatest."""
    memory.clear()
    memory.write(*(insert(everything, id=UUID(int=n), exact=value, whole=n) for n, value in enumerate(some)))
    exact, whole = everything.c.exact, everything.c.whole
    by_size = sorted(range(len(some)), key=lambda n: (some[n], n))
    assert memory.read(select(whole).order_by(exact, whole)) == [(n,) for n in by_size]
    for condition, kept in (
        (exact > mark, lambda value: value > mark),
        (exact <= mark, lambda value: value <= mark),
        (exact == mark, lambda value: value == mark),
        (exact != mark, lambda value: value != mark),
        (exact.in_([mark, some[0]]), lambda value: value in (mark, some[0])),
        (exact.between(mark, some[0]), lambda value: mark <= value <= some[0]),
        (exact > 3, lambda value: value > 3),
    ):
        found = memory.read(select(whole).where(condition).order_by(whole))
        assert found == [(n,) for n, value in enumerate(some) if kept(value)]
    assert memory.read(select(func.min(exact), func.max(exact))) == [(min(some), max(some))]
    assert len(memory.read(select(exact).group_by(exact))) == len(set(some))


sane = st.decimals(-(10**9), 10**9, places=4)


@given(st.lists(sane, min_size=1, max_size=6), sane)
def test_decimals_add_up_exactly(memory: Memory, some: list[Decimal], more: Decimal) -> None:
    """In sums, arithmetic, conditions on sums, and increments."""
    memory.clear()
    memory.write(*(insert(everything, id=UUID(int=n), exact=value, whole=n) for n, value in enumerate(some)))
    exact = everything.c.exact
    total = func.sum(exact)
    assert memory.read(select(total, func.coalesce(total, 0))) == [(sum(some), sum(some))]
    assert memory.read(select(total).where(everything.c.whole < 0)) == [(None,)]
    assert memory.read(select(total.filter(everything.c.whole == 0))) == [(some[0],)]
    assert memory.read(select(exact + more, exact - more, exact * more, -exact).where(everything.c.whole == 0)) == [
        (some[0] + more, some[0] - more, some[0] * more, -some[0])
    ]
    for limit in (more, 5):
        assert bool(memory.read(select(total).having(total > limit))) == (sum(some) > limit)
        assert bool(memory.read(select(exact).where(exact + 1 <= limit, everything.c.whole == 0))) == (
            some[0] + 1 <= limit
        )
    ordered = memory.read(select(total.label("total")).group_by(everything.c.whole).order_by("total"))
    assert ordered == [(value,) for value in sorted(some)]
    memory.write(increment(everything, id=UUID(int=0), exact=more))
    assert memory.read(select(exact).where(everything.c.whole == 0)) == [(some[0] + more,)]


def test_what_cannot_be_computed_exactly_is_refused() -> None:
    """Rather than rounded in silence."""
    statements = Statements(DIALECT)
    with pytest.raises(CompileError, match=r"cannot compute .* exactly; read the values and compute it in Python"):
        statements.prepare(select(everything.c.exact / 3))
    with pytest.raises(CompileError, match="cannot average decimals exactly"):
        statements.prepare(select(func.avg(everything.c.money)))
    assert statements.prepare(select(func.avg(everything.c.whole)))


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("exact", 0.1, "0.1 is no Decimal"),
        ("exact", Decimal("NaN"), "NaN is not a finite number"),
        ("money", Decimal("0.001"), r"0.001 does not fit Numeric\(12, 2\)"),
        ("money", Decimal("12345678901"), r"12345678901 does not fit Numeric\(12, 2\)"),
        ("moment", datetime(2017, 12, 24), "the time 2017-12-24T00:00:00 has no zone"),
        ("other", "not-a-uuid", "badly formed hexadecimal UUID string"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_its_column(column: str, value: Any, reason: str) -> None:
    """The column and the reason are named."""
    with pytest.raises(UnstorableValue, match=f"Column {column} of everything cannot hold a value: .*{reason}"):
        WriteCompiler(DIALECT, str).compile([change(everything, id=KEY, **{column: value})])


def test_money_keeps_the_places_of_its_column(memory: Memory) -> None:
    """As PostgreSQL does."""
    memory.clear()
    memory.write(upsert(everything, id=KEY, money=Decimal("5")))
    ((found,),) = memory.read(select(everything.c.money))
    assert str(found) == "5.00"


def test_moments_of_different_zones_are_one_order(memory: Memory) -> None:
    """A later moment is later whatever its clock says."""
    memory.clear()
    noon = datetime(2017, 12, 24, 12, tzinfo=UTC)
    before = datetime(2017, 12, 24, 13, tzinfo=timezone(timedelta(hours=2)))
    memory.write(upsert(everything, id=UUID(int=1), moment=noon), upsert(everything, id=UUID(int=2), moment=before))
    moment = everything.c.moment
    assert memory.read(select(everything.c.id).order_by(moment)) == [(UUID(int=2),), (UUID(int=1),)]
    assert memory.read(select(everything.c.id).where(moment == noon.astimezone(timezone(timedelta(hours=5))))) == [
        (UUID(int=1),)
    ]
    assert (date(2017, 12, 24), time(12)) == (noon.date(), noon.time())


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
async def models(path: Path) -> AsyncIterator[ReadModels]:
    """The read models of the store at `path`."""
    world = real_world()
    store = await open_sqlite_store(path / "s.sqlite3", world)
    try:
        yield ReadModels("sales", store, world)
    finally:
        await store.close()


async def test_a_service_s_own_tables_keep_their_shape(tmp_path: Path) -> None:
    """They are made once; another shape is refused by name, since what they hold cannot be made anew."""
    for _ in range(2):
        async with models(tmp_path) as each:
            await each.own([table(Column("a", Integer, server_default="3"), CheckConstraint("a > 2"))])
    async with models(tmp_path) as each:
        with pytest.raises(TableChanged, match="Table t of sales was made with other columns, keys or indexes"):
            await each.own([table(Column("a", Integer))])


async def test_a_table_has_one_owner(tmp_path: Path) -> None:
    """Two writers of one table would undo each other."""
    async with models(tmp_path) as each:
        await each.own([table()])
        with pytest.raises(TableOwnedTwice, match="Table t belongs to the service sales and to the service sales"):
            await each.own([table()])


async def test_tables_may_be_called_like_those_of_the_store(tmp_path: Path) -> None:
    """They are tables of their own all the same."""
    async with models(tmp_path) as each:
        await each.own(
            [Table(name, MetaData(), Column("id", Integer, primary_key=True)) for name in ("events", "inbox")]
        )
        assert await each.store.log.end() == 0
