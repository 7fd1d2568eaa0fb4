"""What goes into a read model comes back the same, or is refused."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    select,
)

from colonnade.application.writes import change, upsert
from colonnade.persistence.tables.compiling import UnstorableValue, WriteCompiler

from .everything import KEY, Kept, State, decimals, everything, texts

CALENDAR = (datetime.min + timedelta(days=1), datetime.max - timedelta(days=1))
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


def test_money_keeps_the_places_of_its_column(memory: Kept) -> None:
    """As PostgreSQL does."""
    memory.clear()
    memory.write(upsert(everything, id=KEY, money=Decimal("5")))
    ((found,),) = memory.read(select(everything.c.money))
    assert str(found) == "5.00"
