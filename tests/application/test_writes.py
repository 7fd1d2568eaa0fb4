"""Writes say what is wrong with them where they are made."""

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Numeric, String, Table

from colonnade.application.writes import (
    ColumnsMissing,
    NotANumber,
    NothingToWrite,
    NotPartOfKey,
    UnknownColumn,
    change,
    delete,
    increment,
    insert,
    upsert,
)

stock = Table(
    "stock",
    MetaData(),
    Column("store", Integer, primary_key=True),
    Column("product", Integer, primary_key=True),
    Column("pieces", Integer, nullable=False),
    Column("price", Numeric(10, 2), nullable=False, server_default="0"),
    Column("shelf", String),
)


@pytest.mark.parametrize("write", [insert, upsert, change, increment, delete])
def test_an_unknown_column_is_named_with_those_that_there_are(write: Any) -> None:
    """A misspelt column raises at once, whatever the write."""
    with pytest.raises(UnknownColumn) as unknown:
        write(stock, store=1, product=2, peices=3)
    assert str(unknown.value) == "Table stock has no column peices; it has store, product, pieces, price, shelf."


@pytest.mark.parametrize("write", [insert, upsert, change, increment, delete])
def test_every_write_names_the_whole_key(write: Any) -> None:
    """A part of the key that is missing or None raises."""
    with pytest.raises(ColumnsMissing, match="on stock lacks product"):
        write(stock, store=1)
    with pytest.raises(ColumnsMissing, match="on stock lacks store, product"):
        write(stock, store=None)


@pytest.mark.parametrize("write", [insert, upsert])
@pytest.mark.parametrize("given", [{}, {"pieces": None}])
def test_a_write_that_may_make_a_row_names_all_that_a_row_must_have(write: Any, given: dict[str, Any]) -> None:
    """Nullable columns and those with a server default may be left out, no others."""
    with pytest.raises(ColumnsMissing, match="on stock lacks pieces"):
        write(stock, store=1, product=2, **given)
    assert write(stock, store=1, product=2, pieces=3).values == {"pieces": 3}


def test_no_write_empties_a_column_that_must_hold_something() -> None:
    """Not even one on a row that is there."""
    with pytest.raises(ColumnsMissing, match="on stock lacks pieces"):
        change(stock, store=1, product=2, pieces=None)
    assert change(stock, store=1, product=2, shelf=None).values == {"shelf": None}


def test_a_change_of_nothing_is_refused() -> None:
    """It would only ask whether the row is there."""
    with pytest.raises(NothingToWrite, match="The change on stock names no column"):
        change(stock, store=1, product=2)
    with pytest.raises(NothingToWrite, match="The increment on stock names no column"):
        increment(stock, store=1, product=2)


def test_only_numbers_are_added_to() -> None:
    """Text does not add up."""
    with pytest.raises(NotANumber, match="Nothing can be added to shelf of stock"):
        increment(stock, store=1, product=2, shelf="a")


def test_a_deletion_names_the_key_alone() -> None:
    """Other columns would look like a condition."""
    with pytest.raises(NotPartOfKey, match="The delete on stock names pieces"):
        delete(stock, store=1, product=2, pieces=3)


def test_a_key_is_in_the_order_of_the_table() -> None:
    """However it is given."""
    assert delete(stock, product=2, store=1).key == (1, 2)
