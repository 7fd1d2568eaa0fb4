"""What msgspec lets pass and a message must not hold: NaN, infinities, times without a zone."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Any

import msgspec

__all__ = ["Guard", "guard_of"]

Guard = Callable[[Any], None]
"""Raises `ValueError` for a value that must not be."""


_guards: dict[type, Guard | None] = {}


def guard_of(kind: type) -> Guard | None:
    """A check that raises `ValueError` naming the path, or None where no value of `kind` could offend."""
    try:
        return _guards[kind]
    except KeyError:
        guard = _guards[kind] = _guard(msgspec.inspect.type_info(kind), frozenset())
        return guard


def _guard(info: msgspec.inspect.Type, above: frozenset[type]) -> Guard | None:
    match info:
        case msgspec.inspect.FloatType():
            return _finite_float
        case msgspec.inspect.DecimalType():
            return _finite_decimal
        case msgspec.inspect.DateTimeType():
            return _zoned
        case msgspec.inspect.StructType():
            # A recursive type is guarded to its first repetition: its own guard is looked up when it is reached.
            if info.cls in above:
                return lambda value: (guard_of(type(value)) or _pass)(value)
            below = above | {info.cls}
            fields = [(field.name, _guard(field.type, below)) for field in info.fields]
            return _of_fields([(name, guard) for name, guard in fields if guard is not None])
        case msgspec.inspect.CollectionType():
            return _of_items(_guard(info.item_type, above))
        case msgspec.inspect.TupleType():
            guards = [_guard(item, above) for item in info.item_types]
            return _of_positions(guards) if any(guards) else None
        case msgspec.inspect.DictType():
            return _of_values(_guard(info.value_type, above))
        case msgspec.inspect.UnionType():
            return _of_union([(member, _guard(member, above)) for member in info.types])
        case _:
            return None


def _pass(value: Any) -> None:
    """Nothing to refuse."""


def _finite_float(value: float) -> None:
    if not isfinite(value):
        raise ValueError(f"{value} is not a finite number")


def _finite_decimal(value: Any) -> None:
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")


def _zoned(value: Any) -> None:
    if value.tzinfo is None:
        raise ValueError(f"the time {value.isoformat()} has no zone")


def _of_union(members: list[tuple[msgspec.inspect.Type, Guard | None]]) -> Guard | None:
    # A union has one member at most for each shape of JSON, so that the value's own type tells which it is
    by_type: dict[type, Guard] = {}
    for member, guard in members:
        if guard is not None:
            by_type.update(dict.fromkeys(_types_of(member), guard))
    if not by_type:
        return None

    def check(value: Any) -> None:
        guard = by_type.get(type(value))
        if guard is not None:
            guard(value)

    return check


def _types_of(info: msgspec.inspect.Type) -> tuple[type, ...]:
    match info:
        case msgspec.inspect.StructType():
            return (info.cls,)
        case msgspec.inspect.FloatType():
            return (float,)
        case msgspec.inspect.DecimalType():
            return (Decimal,)
        case msgspec.inspect.DateTimeType():
            return (datetime,)
        case msgspec.inspect.DictType():
            return (dict,)
        case _:
            return (list, tuple, set, frozenset)


def _of_fields(guards: list[tuple[str, Guard]]) -> Guard | None:
    if not guards:
        return None

    def check(value: Any) -> None:
        for name, guard in guards:
            try:
                guard(getattr(value, name))
            except ValueError as error:
                raise ValueError(_at(f".{name}", error)) from None

    return check


def _of_items(guard: Guard | None) -> Guard | None:
    if guard is None:
        return None

    def check(values: Any) -> None:
        for index, value in enumerate(values):
            try:
                guard(value)
            except ValueError as error:
                raise ValueError(_at(f"[{index}]", error)) from None

    return check


def _of_positions(guards: list[Guard | None]) -> Guard:
    def check(values: Any) -> None:
        for index, (value, guard) in enumerate(zip(values, guards, strict=True)):
            if guard is not None:
                try:
                    guard(value)
                except ValueError as error:
                    raise ValueError(_at(f"[{index}]", error)) from None

    return check


def _of_values(guard: Guard | None) -> Guard | None:
    if guard is None:
        return None

    def check(values: Any) -> None:
        for key, value in values.items():
            try:
                guard(value)
            except ValueError as error:
                raise ValueError(_at(f"[{key!r}]", error)) from None

    return check


def _at(step: str, error: ValueError) -> str:
    reason = str(error)
    return f"{reason} - at `${step}`" if " - at `$" not in reason else reason.replace(" - at `$", f" - at `${step}", 1)
