"""Exact decimals in SQLite, which has none: kept as text, ordered and summed by functions of our own."""

from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, cast

import apsw

__all__ = ["COLLATION", "add_decimals"]

COLLATION = "decimal"
"""The order of columns that hold decimals: 2 before 10, 1.0 equal to 1.00."""

_Digits = str | int | None

_exact = Context(prec=1_000, traps=[InvalidOperation, Inexact])


def add_decimals(connection: apsw.Connection) -> None:
    """Teach `connection` the collation `decimal` and `decimal_add`, `_sub`, `_mul`, `_sum`."""
    connection.create_collation(COLLATION, _compare)
    for name, work in (("add", _exact.add), ("sub", _exact.subtract), ("mul", _exact.multiply)):
        connection.create_scalar_function(f"decimal_{name}", _lifted(work), 2, deterministic=True)
    connection.create_aggregate_function("decimal_sum", cast(Any, _Sum), 1)


def _compare(left: str, right: str) -> int:
    first, second = Decimal(left), Decimal(right)
    return (first > second) - (first < second)


def _lifted(work: Callable[[Decimal, Decimal], Decimal]) -> Callable[..., str | None]:
    def apply(left: _Digits, right: _Digits) -> str | None:
        if left is None or right is None:
            return None
        return str(work(Decimal(left), Decimal(right)))

    return apply


class _Sum:
    """The sum of a column, NULL where it holds no value, as SQL has it."""

    __slots__ = ("_total",)

    def __init__(self) -> None:
        self._total: Decimal | None = None

    def step(self, value: _Digits) -> None:
        if value is not None:
            self._total = Decimal(value) if self._total is None else _exact.add(self._total, Decimal(value))

    def final(self) -> str | None:
        return None if self._total is None else str(self._total)
