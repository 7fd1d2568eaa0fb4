"""What a message must not hold is found at every depth of every shape, and told with its path."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from colonnade.messages import Command, Value
from colonnade.messages.guards import guard_of
from colonnade.messages.strict import UnknownField, unknown_fields_check


class Price(Value):
    """An amount."""

    amount: Decimal = Decimal(1)


class Coupon(Value, tag="coupon"):
    """A way to pay."""

    worth: Price


class Card(Value, tag="card"):
    """Another."""

    number: str


class Shelf(Value):
    """Shelves stand on shelves."""

    price: Price | None = None
    above: tuple["Shelf", ...] = ()
    beside: "Shelf | None" = None


class Everything(Command):
    """A field of every shape that can hold values."""

    one: Price | None = None
    many: list[Price] = msgspec.field(default_factory=list)
    some: tuple[Price, ...] = ()
    kinds: frozenset[Price] = frozenset()
    pair: tuple[int, Price] = (0, Price())
    by_name: dict[str, Price] = msgspec.field(default_factory=dict)
    paid: Coupon | Card | None = None
    perhaps_card: Card | None = None
    perhaps_many: list[Price] | None = None
    perhaps_some: tuple[Price, ...] | None = None
    perhaps_kinds: frozenset[Price] | None = None
    perhaps_pair: tuple[int, Price] | None = None
    perhaps_by_name: dict[str, Price] | None = None
    many_or_one: list[Price] | Price | None = None
    deep: dict[str, list[tuple[Price, ...] | None]] = msgspec.field(default_factory=dict)
    plain: tuple[dict[str, int], list[str], str] | None = None
    shelf: Shelf | None = None


BAD: dict[str, Any] = {"amount": "1", "tip": 1}

NESTED: list[tuple[dict[str, Any], str]] = [
    ({"one": BAD}, "$.one"),
    ({"many": [{}, BAD]}, "$.many[1]"),
    ({"some": [BAD]}, "$.some[0]"),
    ({"kinds": [BAD]}, "$.kinds[0]"),
    ({"pair": [1, BAD]}, "$.pair[1]"),
    ({"by_name": {"a": {}, "b": BAD}}, "$.by_name.b"),
    ({"paid": {"type": "coupon", "worth": BAD}}, "$.paid.worth"),
    ({"paid": {"type": "card", "number": "1", "tip": 1}}, "$.paid"),
    ({"perhaps_card": {"type": "card", "number": "1", "tip": 1}}, "$.perhaps_card"),
    ({"perhaps_card": {"number": "1", "tip": 1}}, "$.perhaps_card"),
    ({"perhaps_many": [BAD]}, "$.perhaps_many[0]"),
    ({"perhaps_some": [BAD]}, "$.perhaps_some[0]"),
    ({"perhaps_kinds": [BAD]}, "$.perhaps_kinds[0]"),
    ({"perhaps_pair": [1, BAD]}, "$.perhaps_pair[1]"),
    ({"perhaps_by_name": {"b": BAD}}, "$.perhaps_by_name.b"),
    ({"many_or_one": [BAD]}, "$.many_or_one[0]"),
    ({"many_or_one": BAD}, "$.many_or_one"),
    ({"deep": {"x": [None, [{}, BAD]]}}, "$.deep.x[1][1]"),
    ({"shelf": {"price": BAD}}, "$.shelf.price"),
    ({"shelf": {"above": [{}, {"beside": {"above": [{"price": BAD}]}}]}}, "$.shelf.above[1].beside.above[0].price"),
    ({"shelf": {"above": [{"tip": 1}]}}, "$.shelf.above[0]"),
]


@pytest.mark.parametrize(("data", "path"), NESTED, ids=[path for _, path in NESTED])
def test_an_unknown_field_is_found_wherever_a_value_can_be(data: dict[str, Any], path: str) -> None:
    """Decoded, the data is that of the message; only the field is too much, and what is known there is told."""
    msgspec.convert(data, Everything, strict=False)
    check = unknown_fields_check(Everything)
    assert check is not None
    with pytest.raises(UnknownField, match=r"Unknown field `tip` - at .*; known are ") as found:
        check(data, "$")
    assert (found.value.path, found.value.field) == (path, "tip")


@pytest.mark.parametrize("data", [data for data, _ in NESTED], ids=[path for _, path in NESTED])
def test_what_has_known_fields_only_passes(data: dict[str, Any]) -> None:
    """Tags and Nones too."""

    def without_tip(value: Any) -> Any:
        match value:
            case dict():
                return {name: without_tip(inner) for name, inner in value.items() if name != "tip"}
            case list():
                return [without_tip(inner) for inner in value]
            case _:
                return value

    check = unknown_fields_check(Everything)
    assert check is not None
    check(without_tip(data), "$")


def test_where_nothing_is_there_nothing_is_unknown() -> None:
    """None passes wherever it may stand."""
    check = unknown_fields_check(Everything)
    assert check is not None
    empty: Any = Everything()
    check({name: None for name, value in msgspec.structs.asdict(empty).items() if value is None}, "$")


class Measured(Command):
    """A field of every shape that can hold what is no number and no moment."""

    number: float = 0.0
    exact: Decimal = Decimal(0)
    moment: datetime = datetime(2017, 12, 24, tzinfo=UTC)
    perhaps_number: float | None = None
    perhaps_exact: Decimal | None = None
    perhaps_moment: datetime | None = None
    priced: Price | None = None
    paid: Coupon | Card | None = None
    by_name: dict[str, Decimal] = msgspec.field(default_factory=dict)
    perhaps_by_name: dict[str, Decimal] | None = None
    many: list[float] = msgspec.field(default_factory=list)
    perhaps_pair: tuple[int, Decimal] | None = None
    deep: dict[str, list[tuple[Decimal, ...] | None]] = msgspec.field(default_factory=dict)
    shelf: Shelf | None = None


NAN, NAIVE = Decimal("NaN"), datetime(2017, 12, 24)
NO_NUMBER, NO_ZONE = "NaN is not a finite number", "the time 2017-12-24T00:00:00 has no zone"

OFFENDING: list[tuple[Measured, str]] = [
    (Measured(number=float("inf")), "inf is not a finite number - at `$.number`"),
    (Measured(exact=NAN), f"{NO_NUMBER} - at `$.exact`"),
    (Measured(moment=NAIVE), f"{NO_ZONE} - at `$.moment`"),
    (Measured(perhaps_number=float("nan")), "nan is not a finite number - at `$.perhaps_number`"),
    (Measured(perhaps_exact=NAN), f"{NO_NUMBER} - at `$.perhaps_exact`"),
    (Measured(perhaps_moment=NAIVE), f"{NO_ZONE} - at `$.perhaps_moment`"),
    (Measured(priced=Price(NAN)), f"{NO_NUMBER} - at `$.priced.amount`"),
    (Measured(paid=Coupon(Price(NAN))), f"{NO_NUMBER} - at `$.paid.worth.amount`"),
    (Measured(by_name={"a": NAN}), f"{NO_NUMBER} - at `$.by_name['a']`"),
    (Measured(perhaps_by_name={"a": NAN}), f"{NO_NUMBER} - at `$.perhaps_by_name['a']`"),
    (Measured(many=[0.0, float("-inf")]), "-inf is not a finite number - at `$.many[1]`"),
    (Measured(perhaps_pair=(1, NAN)), f"{NO_NUMBER} - at `$.perhaps_pair[1]`"),
    (Measured(deep={"x": [None, (Decimal(1), NAN)]}), f"{NO_NUMBER} - at `$.deep['x'][1][1]`"),
    (Measured(shelf=Shelf(beside=Shelf(above=(Shelf(Price(NAN)),)))), f"{NO_NUMBER} - at `$.shelf.beside.above[0]"),
]


@pytest.mark.parametrize(("message", "told"), OFFENDING, ids=[told for _, told in OFFENDING])
def test_what_is_no_number_and_no_moment_is_found_wherever_it_can_be(message: Measured, told: str) -> None:
    """With its path."""
    guard = guard_of(Measured)
    assert guard is not None
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        guard(message)


def test_what_holds_none_of_it_passes() -> None:
    """With everything set."""
    guard = guard_of(Measured)
    assert guard is not None
    one, moment = Decimal(1), datetime(2017, 12, 24, tzinfo=UTC)
    shelf = Shelf(Price(), (Shelf(),), Shelf(Price()))
    guard(
        Measured(
            1.0, one, moment, 1.0, one, moment, Price(), Coupon(Price()), {"a": one}, {"a": one}, [1.0], (1, one),
            {"x": [None, (one,)]}, shelf,
        )
    )  # fmt: skip
    guard(Measured(paid=Card("1")))
