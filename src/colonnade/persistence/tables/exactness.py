"""What no engine computes for read models, so that a statement means the same on all of them."""

from typing import Any

from sqlalchemy import types
from sqlalchemy.exc import CompileError
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeEngine

__all__ = ["check_average", "check_computed", "is_decimal"]

_EXACT = (operators.add, operators.sub, operators.mul)


def is_decimal(type_: TypeEngine[Any]) -> bool:
    """Whether values of a type are exact decimals; floats, a kind of Numeric to SQLAlchemy, are not."""
    return isinstance(type_, types.Numeric) and not isinstance(type_, types.Float)


def check_computed(binary: Any) -> None:
    """Raise CompileError for what makes decimals that would have to be rounded, each engine in its way."""
    if is_decimal(binary.type) and binary.operator not in _EXACT:
        raise CompileError(
            f"{binary} cannot be computed exactly; read the values and compute it in Python, or cast them to Float."
        )


def check_average(function: Any) -> None:
    """Raise CompileError for the average of decimals."""
    if any(is_decimal(argument.type) for argument in function.clauses):
        raise CompileError("Decimals cannot be averaged exactly; divide their sum by their count in Python.")
