"""Folding writes leaves the same rows as writing them one by one."""

from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Index, Integer, MetaData, Table, UniqueConstraint
from sqlalchemy import delete as delete_where
from sqlalchemy import update as update_where

from colonnade.application.writes import Write, change, delete, increment, insert, upsert
from colonnade.persistence.sqlite.dialect import sqlite_dialect
from colonnade.persistence.sqlite.opening import prepare_for_statements
from colonnade.persistence.tables.compiling import WriteCompiler
from colonnade.persistence.tables.declared import definitions
from colonnade.persistence.tables.folding import fold
from colonnade.persistence.tables.marking import placed
from colonnade.persistence.unit import WriteMany


def table(name: str, *rules: Any) -> Table:
    """A table of two numbers, with rules beside its key or without."""
    return Table(
        name,
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("a", Integer),
        Column("b", Integer, nullable=False, server_default="7"),
        *rules,
    )


plain, other = table("plain"), table("other", Index("other_by_a", "a"))
ruled = table("ruled", UniqueConstraint("a"))
TABLES = (plain, other, ruled)
DIALECT = sqlite_dialect()

ids = st.integers(1, 2)
numbers = st.integers(0, 2)
columns = st.fixed_dictionaries({}, optional={"a": numbers | st.none(), "b": numbers})
some_columns = columns.filter(bool)
sums = st.fixed_dictionaries({}, optional={"a": numbers, "b": numbers}).filter(bool)


def writes_on(*tables: Table) -> st.SearchStrategy[list[Write]]:
    """Writes of all kinds, on few rows, so that they meet."""
    some = st.sampled_from(tables)
    rows: st.SearchStrategy[Write] = st.one_of(
        st.builds(lambda t, id, named: insert(t, id=id, **named), some, ids, columns),
        st.builds(lambda t, id, named: upsert(t, id=id, **named), some, ids, columns),
        st.builds(lambda t, id, named: change(t, id=id, **named), some, ids, some_columns),
        st.builds(lambda t, id, named: increment(t, id=id, **named), some, ids, sums),
        st.builds(lambda t, id: delete(t, id=id), some, ids),
    )
    statements: st.SearchStrategy[Write] = st.one_of(
        st.builds(lambda t, n: update_where(t).where(t.c.b == n).values(b=0), some, numbers),
        st.builds(lambda t, n: delete_where(t).where(t.c.a == n), some, numbers),
    )
    return st.lists(rows, max_size=6) | st.lists(rows | statements, max_size=10)


writes = writes_on(plain) | writes_on(ruled) | writes_on(*TABLES)


def physical(name: str) -> str:
    """The table that stands for a declared one."""
    return f"{name}__1"


COMPILER = WriteCompiler(DIALECT, physical)


@pytest.fixture(scope="module")
def database() -> Iterator[apsw.Connection]:
    """A database with the tables, empty."""
    connection = apsw.Connection(":memory:")
    prepare_for_statements(connection)
    for each in TABLES:
        for statement in definitions(each, DIALECT):
            connection.execute(placed(statement, physical))
    yield connection
    connection.close()


def written(database: apsw.Connection, *batches: Sequence[Write]) -> object:
    """The rows that would be left, or that some row was missed or refused."""
    database.execute("BEGIN")
    try:
        for batch in batches:
            for effect in COMPILER.compile(batch):
                rows = effect.rows if isinstance(effect, WriteMany) else [effect.parameters]
                before = database.total_changes()
                database.executemany(effect.sql, rows)
                if effect.must_hit and database.total_changes() - before < len(rows):
                    return "failed"
        return [
            sorted(database.execute(f'SELECT * FROM "{physical(each.name)}"').fetchall(), key=str) for each in TABLES
        ]
    except apsw.ConstraintError:
        return "failed"
    finally:
        database.execute("ROLLBACK")


@settings(max_examples=1_000)
@given(writes)
def test_folding_changes_nothing(database: apsw.Connection, some: list[Write]) -> None:
    """Any sequence of writes and its folding leave the same rows, or both fail."""
    assert written(database, fold(some)) == written(database, *([write] for write in some))


@given(st.lists(writes, max_size=4))
def test_pages_make_no_difference(database: apsw.Connection, pages: list[list[Write]]) -> None:
    """However the log is cut into transactions, the same rows come out: a rebuild equals what was built live."""
    whole = [write for page in pages for write in page]
    assert written(database, *(fold(page) for page in pages)) == written(database, fold(whole))


def test_many_changes_of_one_row_are_one_write() -> None:
    """That is what folding is for."""
    folded = fold([insert(plain, id=1, a=0), *(change(plain, id=1, a=n) for n in range(9)), upsert(plain, id=1, b=2)])
    assert folded == [insert(plain, id=1, a=8, b=2)]


def test_relative_changes_are_not_folded() -> None:
    """Nor is what comes before one merged with what comes after."""
    step = [
        change(plain, id=1, a=1),
        increment(plain, id=1, a=1),
        increment(plain, id=1, a=1),
        change(plain, id=1, b=1),
    ]
    assert fold(step) == step


def test_a_deletion_takes_what_went_before_with_it() -> None:
    """But not an error that it would have hidden."""
    assert fold([upsert(plain, id=1, a=1), delete(plain, id=1), delete(plain, id=1)]) == [delete(plain, id=1)]
    failing = [insert(plain, id=1, a=1), delete(plain, id=1)]
    assert fold(failing) == failing


def test_tables_with_rules_of_their_own_are_left_alone() -> None:
    """Each state on the way has to keep a rule, so each is written."""
    step = [upsert(ruled, id=1, a=1), upsert(ruled, id=2, a=2), upsert(ruled, id=1, a=3), upsert(ruled, id=2, a=1)]
    assert fold(step) == step


def test_writes_of_one_shape_are_one_statement() -> None:
    """Rows that alternate between two tables and two kinds of write end up in four statements."""
    some: list[Write] = []
    for id in range(1, 50):
        some += [insert(plain, id=id, a=1), insert(other, id=id, a=1), increment(plain, id=id, a=1)]
        some.append(increment(other, id=id, b=1))
    effects = COMPILER.compile(fold(some))
    assert [len(effect.rows) for effect in effects if isinstance(effect, WriteMany)] == [49] * 4
    assert all(effect.must_hit == ("UPDATE" in effect.sql) for effect in effects)
