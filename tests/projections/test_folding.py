"""Folding writes leaves the same rows as writing them one by one."""

from collections.abc import Sequence
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.dialects import sqlite

from colonnade.application.writes import KeyMissing, RowWrite, UnknownColumn, change, delete, increment, insert, upsert
from colonnade.persistence.tables.compiling import WriteCompiler, create_statements, physical_table
from colonnade.persistence.tables.folding import fold

rows = Table(
    "rows",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("a", Integer, nullable=False, default=0),
    Column("b", Integer, nullable=False, default=0),
)
DIALECT = sqlite.dialect(paramstyle="qmark")

ids = st.integers(1, 3)
numbers = st.integers(-5, 5)
columns = st.fixed_dictionaries({}, optional={"a": numbers, "b": numbers}).filter(bool)
writes = st.lists(
    st.one_of(
        st.builds(lambda id, a, b: upsert(rows, id=id, a=a, b=b), ids, numbers, numbers),
        st.builds(lambda id, named: change(rows, id=id, **named), ids, columns),
        st.builds(lambda id, named: increment(rows, id=id, **named), ids, columns),
        st.builds(lambda id: delete(rows, id=id), ids),
    ),
    max_size=12,
)


def written(some: Sequence[RowWrite]) -> set[Any] | str:
    """The rows that are left, or that a write missed its row."""
    connection = apsw.Connection(":memory:")
    physical = physical_table(rows, "rows__1")
    for statement in create_statements(physical, DIALECT):
        connection.execute(statement)
    compiler = WriteCompiler(DIALECT, {rows: physical})
    for write in some:
        compiled = compiler.compile(write)
        connection.execute(compiled.sql, compiled.parameters)
        if compiled.must_hit and not connection.changes():
            return "missed"
    return set(connection.execute("SELECT * FROM rows__1"))


@given(writes)
def test_folding_changes_nothing(some: list[RowWrite]) -> None:
    """Any sequence of writes and its folding leave the same rows, or both miss one."""
    assert written(fold(some)) == written(some)


def test_many_changes_of_one_row_are_one_write() -> None:
    """That is what folding is for; relative changes stay apart."""
    assert len(fold([upsert(rows, id=1, a=1, b=1), *(change(rows, id=1, a=n) for n in range(9))])) == 1
    assert len(fold([increment(rows, id=1, a=1) for _ in range(3)])) == 3
    assert len(fold([upsert(rows, id=1, a=1, b=1), delete(rows, id=1), change(rows, id=1, a=2)])) == 3


def test_columns_are_checked_at_once() -> None:
    """A misspelt column and a missing key raise where the write is made, naming what is known."""
    with pytest.raises(UnknownColumn, match=r"rows has no column c; it has id, a, b"):
        change(rows, id=1, c=2)
    with pytest.raises(KeyMissing, match="lacks id"):
        insert(rows, a=1)
