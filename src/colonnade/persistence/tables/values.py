"""What no engine may be given for a value, so that all of them take the same and give it back the same."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, cast

from sqlalchemy.exc import CompileError
from sqlalchemy.types import Numeric

__all__ = ["checked_moment", "checked_real", "checked_text", "checked_whole", "decimals_of"]

_MOST_DIGITS = 1_000
_ONES = Decimal(1)
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
# No zone is a day away from UTC: what is between these needs no second look
_BEGINNING, _END = datetime.min + timedelta(days=1), datetime.max - timedelta(days=1)


def decimals_of(type_: Numeric[Any]) -> Callable[[Any], Decimal | None]:
    """What makes an exact decimal of a value for a column: with a scale, none may need more places.

    Raises ValueError or TypeError for what does not fit.
    """
    if not type_.asdecimal:
        raise CompileError("Numeric(asdecimal=False) is a Float; call it that.")
    places = None if type_.scale is None else Decimal(1).scaleb(-type_.scale)
    digits = Context(prec=type_.precision or _MOST_DIGITS, traps=[InvalidOperation, Inexact])

    def decimal_of(value: Any) -> Decimal | None:
        if value is None:
            return None
        if not isinstance(value, Decimal | int):
            raise TypeError(f"{value!r} is no Decimal")
        decimal = Decimal(value)
        if not decimal.is_finite():
            raise ValueError(f"{value} is not a finite number")
        if not decimal:  # no engine but Python has a zero below zero
            decimal = decimal.copy_abs()
        exponent = cast(int, decimal.as_tuple().exponent)
        try:
            if places is not None:
                return decimal.quantize(places, context=digits)
            if exponent > 0:  # nor one that ends in places before the point
                return decimal.quantize(_ONES, context=digits)
            if exponent < -_MOST_DIGITS:
                raise InvalidOperation
            return digits.create_decimal(decimal)
        except (InvalidOperation, Inexact):
            kind = f"({type_.precision}, {type_.scale})" if places is not None else f" of {_MOST_DIGITS} digits"
            raise ValueError(f"{value} does not fit Numeric{kind}") from None

    return decimal_of


def checked_moment(value: datetime | None) -> datetime | None:
    """A moment that knows its zone, and is in the calendar in UTC too; raises ValueError."""
    if value is None:
        return None
    offset = value.utcoffset()
    if offset is None:
        raise ValueError(f"the time {value.isoformat()} has no zone")
    if not _is_between_the_ends(value.replace(tzinfo=None), offset):
        raise ValueError(f"the time {value.isoformat()} is at an end of the calendar in UTC, kept for infinity")
    return value


def _is_between_the_ends(local: datetime, offset: timedelta) -> bool:
    if _BEGINNING <= local <= _END:
        return True
    try:
        return datetime.min < local - offset < datetime.max
    except OverflowError:
        return False


def checked_text(value: Any) -> Any:
    """A text, or None; raises TypeError or ValueError."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    if "\0" in value:
        raise ValueError("it has the character U+0000, which PostgreSQL does not store")
    return value


def checked_whole(value: Any) -> Any:
    """A whole number of 64 bits, or None; raises TypeError or ValueError."""
    if value is None:
        return None
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    if not _LEAST <= value <= _MOST:
        raise ValueError(f"{value} does not fit 64 bits")
    return value


def checked_real(value: Any) -> float | None:
    """A float, or None; raises TypeError, or ValueError for what is no number, of which SQLite makes NULL."""
    if value is None:
        return None
    if not isinstance(value, float | int | Decimal):
        raise TypeError(f"{value!r} is no number")
    real = float(value)
    if real != real:
        raise ValueError("it is not a number")
    return real
