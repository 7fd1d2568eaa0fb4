"""What goes into a read model comes back the same, and compares as it should."""

import asyncio
import enum
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

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
    ColumnElement,
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
    cast,
    desc,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy import (
    delete as delete_from,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import CompileError

from colonnade.application.writes import Write, change, increment, insert, upsert
from colonnade.persistence.postgres.connections import connect
from colonnade.persistence.postgres.dialect import postgres_dialect
from colonnade.persistence.sqlite.dialect import sqlite_dialect
from colonnade.persistence.sqlite.opening import prepare_for_statements
from colonnade.persistence.tables.compiling import UnstorableValue, WriteCompiler
from colonnade.persistence.tables.declared import UnfitTable, check_table, definitions
from colonnade.persistence.tables.marking import placed
from colonnade.persistence.tables.models import ReadModels, TableChanged, TableOwnedTwice
from colonnade.persistence.tables.statements import Statements
from colonnade.persistence.unit import WriteMany
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.world import real_world

from .homes import ENGINES, Home


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


class Kept:
    """The table `everything` on one engine, written and read with nothing between it and the dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._compiler = WriteCompiler(dialect, str)
        self._statements = Statements(dialect)
        for statement in definitions(everything, dialect):
            self._run(placed(statement, str), [()])

    def write(self, *writes: Write) -> None:
        """Write at once."""
        for effect in self._compiler.compile(writes):
            self._run(effect.sql, effect.rows if isinstance(effect, WriteMany) else [effect.parameters])

    def read(self, statement: Executable, **values: Any) -> list[tuple[Any, ...]]:
        """All rows."""
        prepared = self._statements.prepare(statement, values)
        rows = self._run(prepared.sql(str), [prepared.parameters])
        return [tuple(row) for row in prepared.rows(rows)]

    def told(self, explain: str, statement: Executable) -> str:
        """How a statement would be run, if sorting were dear."""
        prepared = Statements(self.dialect).prepare(statement)
        return str(self._run(f"{explain} {prepared.sql(str)}", [prepared.parameters]))

    def clear(self) -> None:
        """Hold nothing."""
        self.write(delete_from(everything))

    def _run(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        raise NotImplementedError


class InSqlite(Kept):
    """In memory."""

    def __init__(self) -> None:
        self._connection = apsw.Connection(":memory:")
        prepare_for_statements(self._connection)
        super().__init__(sqlite_dialect())

    def _run(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        return list(self._connection.executemany(sql, rows))


class InPostgres(Kept):
    """In a schema of its own."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self._loop = runner
        schema = f"everything_{uuid4().hex}"
        self._connection = runner.run(connect(url, {"enable_sort": "off", "enable_seqscan": "off"}))
        self._run(f"CREATE SCHEMA {schema}", [()])
        super().__init__(postgres_dialect(schema))

    def _run(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        found = self._loop.run(self._all(sql, rows))
        return [tuple(row) for row in found]

    async def _all(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
        return [each for row in rows for each in await self._connection.fetch(sql, *row)]

    def close(self) -> None:
        """Say goodbye."""
        self._loop.run(self._connection.close())


@pytest.fixture(scope="module", params=ENGINES)
def memory(request: pytest.FixtureRequest) -> Iterator[Kept]:
    """One table for all examples, on the engine that the test is run for."""
    if request.param == "sqlite":
        yield InSqlite()
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with asyncio.Runner() as runner:
        kept = InPostgres(runner, server.url())
        try:
            yield kept
        finally:
            kept.close()


KEY = UUID(int=7)
CALENDAR = (datetime.min + timedelta(days=1), datetime.max - timedelta(days=1))
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
        "moment": st.datetimes(*CALENDAR, timezones=st.timezones() | st.just(UTC)) | st.none(),
        "day": st.dates() | st.none(),
        "hour": st.times() | st.none(),
        "state": st.sampled_from(State) | st.none(),
        "tree": trees.filter(lambda tree: tree is not None),
        "bytes": st.binary() | st.none(),
        "other": st.uuids().map(str) | st.none(),
    },
)


@given(rows)
def test_every_value_comes_back_as_it_went_in(memory: Kept, row: dict[str, Any]) -> None:
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
            assert f"{values[name]:f}" == f"{given_value if given_value else given_value.copy_abs():f}"
        if isinstance(given_value, datetime):
            assert values[name].tzinfo is UTC


@given(st.lists(decimals, min_size=1, max_size=6), decimals)
def test_decimals_compare_and_sort_as_numbers(memory: Kept, some: list[Decimal], mark: Decimal) -> None:
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
def test_decimals_add_up_exactly(memory: Kept, some: list[Decimal], more: Decimal) -> None:
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


def test_what_cannot_be_computed_exactly_is_refused(memory: Kept) -> None:
    """Rather than rounded in silence."""
    statements = Statements(memory.dialect)
    with pytest.raises(CompileError, match="cannot be computed exactly; read the values and compute it in Python"):
        statements.prepare(select(everything.c.exact / 3))
    with pytest.raises(CompileError, match="cannot be computed exactly"):
        statements.prepare(select(everything.c.whole / 3))
    with pytest.raises(CompileError, match="cannot be averaged exactly"):
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
        ("moment", datetime.min.replace(tzinfo=UTC), "at an end of the calendar in UTC"),
        ("moment", datetime.max.replace(tzinfo=UTC), "at an end of the calendar in UTC"),
        ("moment", datetime(1, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "at an end of the calendar in UTC"),
        ("exact", Decimal("1E+1000"), r"1E\+1000 does not fit Numeric of 1000 digits"),
        ("exact", Decimal("1E-1001"), "1E-1001 does not fit Numeric of 1000 digits"),
        ("other", "not-a-uuid", "badly formed hexadecimal UUID string"),
        ("text", 5, "5 is no text"),
        ("text", "a\0", r"the character U\+0000"),
        ("whole", "5", "'5' is no whole number"),
        ("whole", 5.0, "5.0 is no whole number"),
        ("whole", 1 << 63, "9223372036854775808 does not fit 64 bits"),
        ("real", "5.0", "'5.0' is no number"),
        ("real", float("nan"), "it is not a number"),
        ("yes", 2, "Value 2 is not None, True, or False"),
        ("state", 5, "'5' is not among the defined enum values"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_its_column(memory: Kept, column: str, value: Any, reason: str) -> None:
    """The column and the reason are named, the same on each engine."""
    with pytest.raises(UnstorableValue, match=f"Column {column} of everything cannot hold a value: .*{reason}"):
        WriteCompiler(memory.dialect, str).compile([change(everything, id=KEY, **{column: value})])


@given(st.lists(texts | st.none(), min_size=1, max_size=6, unique=True), st.lists(st.integers(-2, 2) | st.none()))
def test_orders_are_the_same_everywhere(memory: Kept, some: list[str | None], numbers: list[int | None]) -> None:
    """Text by its bytes, and what is missing before all else, so that a page begins where the one before it ended."""
    memory.clear()
    rows = [(text, number) for text in some for number in numbers[:3]]
    memory.write(
        *(insert(everything, id=UUID(int=n), text=text, whole=number) for n, (text, number) in enumerate(rows))
    )
    text, whole = everything.c.text, everything.c.whole

    def place(row: tuple[str | None, int | None]) -> tuple[bytes, float]:
        return b"" if row[0] is None else b"\1" + row[0].encode(), -9 if row[1] is None else row[1]

    assert memory.read(select(text, whole).order_by(text, whole)) == sorted(rows, key=place)
    falling = select(text, whole.label("w")).order_by(text.desc(), desc("w"))
    assert memory.read(falling) == sorted(rows, key=place, reverse=True)
    last = select(whole).where(text == text).distinct().order_by(whole.nulls_last())
    found = {row[1] for row in rows if row[0] is not None}
    assert memory.read(last) == [(n,) for n in sorted(found, key=lambda n: (n is None, n))]
    mark = max(rows, key=place)[0] if rows else None
    if mark is not None:
        assert {row[0] for row in memory.read(select(text).where(text < mark))} == {
            each for each, _ in rows if each is not None and each.encode() < mark.encode()
        }


def test_an_index_gives_the_order_that_is_asked_for(memory: Kept) -> None:
    """In both directions, so that a page of many rows is not a sort of all of them."""
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[memory.dialect.name]
    for order in (everything.c.exact, everything.c.exact.desc()):
        plan = memory.told(explain, select(everything.c.exact).order_by(order))
        assert "everything_by_exact" in plan
        assert "sort" not in plan.lower()
        assert "b-tree" not in plan.lower()


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (everything.c.text.like("a%"), ["a", "a%", "a\\b"]),
        (everything.c.text.ilike("A%"), ["A", "a", "a%", "a\\b"]),
        (everything.c.text.not_like("a%"), ["A", "ä"]),
        (everything.c.text.like("a\\%"), ["a\\b"]),
        (everything.c.text.contains("%", autoescape=True), ["a%"]),
        (everything.c.text.like("a_%"), ["a%", "a\\b"]),
        (func.lower(everything.c.text) == "a", ["A", "a"]),
        (everything.c.text.in_(["a", "ä"]), ["a", "ä"]),
        (everything.c.text + "!" == "A!", ["A"]),
        (tuple_(everything.c.text, everything.c.whole) > ("a%", 2), ["a\\b", "ä"]),
    ],
)
def test_texts_are_found_alike(memory: Kept, condition: ColumnElement[bool], found: list[str]) -> None:
    """LIKE tells capitals from small letters, and nothing escapes unless it is said."""
    memory.clear()
    some = ["A", "a", "a%", "a\\b", "ä"]
    memory.write(*(insert(everything, id=UUID(int=n), text=text, whole=n) for n, text in enumerate(some)))
    assert memory.read(select(everything.c.text).where(condition).order_by(everything.c.text)) == [(t,) for t in found]


def test_numbers_are_computed_alike(memory: Kept) -> None:
    """Of the same types too: sums of whole numbers are whole, averages are floats, quotients are cut off."""
    memory.clear()
    memory.write(*(insert(everything, id=UUID(int=n), whole=n - 3, real=n / 4, yes=n > 3) for n in range(4)))
    whole, real = everything.c.whole, everything.c.real
    ((total, some, average, rest, half, sums),) = memory.read(
        select(
            func.sum(whole),
            func.sum(whole).filter(whole < -1),
            func.avg(whole),
            func.min(whole % 2),
            func.min(whole // 2),
            func.sum(real),
        )
    )
    assert (total, some, average, rest, half, sums) == (-6, -5, -1.5, -1, -1, 1.5)
    assert [type(each) for each in (total, some, average, rest, half, sums)] == [int, int, float, int, int, float]
    assert memory.read(select(func.count()).where(everything.c.yes)) == [(0,)]
    assert memory.read(select(whole).where(~everything.c.yes, whole > literal(-2)).order_by(whole)) == [(-1,), (0,)]
    assert memory.read(select(cast(whole, Float) / 2).where(whole == -3)) == [(-1.5,)]


def test_trees_are_looked_into_alike(memory: Kept) -> None:
    """By name, by place and along a way."""
    memory.clear()
    memory.write(insert(everything, id=KEY, tree={"a": {"b": "leaf"}, "n": [7, 8]}))
    tree = everything.c.tree
    assert memory.read(
        select(tree["a"], tree[("a", "b")].as_string(), tree["n"][1].as_integer(), tree[("n", 0)].as_integer())
    ) == [({"b": "leaf"}, "leaf", 8, 7)]


def test_a_statement_of_one_s_own_may_call_rows_by_the_declared_name(memory: Kept) -> None:
    """What stands in the way of an INSERT, and what it returns."""
    memory.clear()
    dialects: dict[str, Any] = {"sqlite": sqlite_insert, "postgresql": postgresql_insert}
    row = dialects[memory.dialect.name](everything).values(id=KEY, whole=1)
    counted = row.on_conflict_do_update(index_elements=["id"], set_={"whole": everything.c.whole + row.excluded.whole})
    memory.write(counted, counted)
    assert memory.read(update(everything).values(whole=everything.c.whole + 1).returning(everything.c.whole)) == [(3,)]


def test_money_keeps_the_places_of_its_column(memory: Kept) -> None:
    """As PostgreSQL does."""
    memory.clear()
    memory.write(upsert(everything, id=KEY, money=Decimal("5")))
    ((found,),) = memory.read(select(everything.c.money))
    assert str(found) == "5.00"


def test_moments_of_different_zones_are_one_order(memory: Kept) -> None:
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
