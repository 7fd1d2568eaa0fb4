"""What lies in a read model compares, sorts and adds up as it should, the same on each engine."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    ColumnElement,
    Float,
    cast,
    desc,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import CompileError

from colonnade.application.writes import increment, insert, upsert
from colonnade.persistence.tables.statements import Statements

from .everything import KEY, Kept, decimals, everything, texts


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
