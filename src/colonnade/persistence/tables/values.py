"""What no engine may be given for a value."""

from collections.abc import Callable
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

from sqlalchemy.exc import CompileError
from sqlalchemy.types import Numeric

__all__ = ["checked_moment", "decimals_of"]


def decimals_of(type_: Numeric[Any]) -> Callable[[Any], Decimal | None]:
    """What makes an exact decimal of a value for a column: with a scale, none may need more places.

    Raises ValueError or TypeError for what does not fit.
    """
    if not type_.asdecimal:
        raise CompileError("Numeric(asdecimal=False) is a Float; call it that.")
    places = None if type_.scale is None else Decimal(1).scaleb(-type_.scale)
    digits = Context(prec=type_.precision or 1_000, traps=[InvalidOperation, Inexact])

    def decimal_of(value: Any) -> Decimal | None:
        if value is None:
            return None
        if not isinstance(value, Decimal | int):
            raise TypeError(f"{value!r} is no Decimal")
        decimal = Decimal(value)
        if not decimal.is_finite():
            raise ValueError(f"{value} is not a finite number")
        if places is None:
            return decimal
        try:
            return decimal.quantize(places, context=digits)
        except (InvalidOperation, Inexact):
            raise ValueError(f"{value} does not fit Numeric({type_.precision}, {type_.scale})") from None

    return decimal_of


def checked_moment(value: datetime | None) -> datetime | None:
    """A moment that knows its zone; raises ValueError."""
    if value is not None and value.tzinfo is None:
        raise ValueError(f"the time {value.isoformat()} has no zone")
    return value
