"""Column types that SQLite would blur, kept exact."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, LargeBinary, Numeric, String, Uuid
from sqlalchemy.types import TypeDecorator, TypeEngine

from colonnade.world import datetime_of, micros_of

__all__ = ["ExactDecimal", "Moment", "storable"]


class ExactDecimal(TypeDecorator[Decimal]):
    """A decimal as text: SQLite's own numbers would round it. Compare and sum it in Python, not in SQL."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Any) -> str | None:
        """The digits."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Any) -> Decimal | None:
        """The number."""
        return None if value is None else Decimal(value)


class Moment(TypeDecorator[datetime]):
    """A moment with its zone as whole microseconds since 1970-01-01T00:00:00Z, which sort and keep UTC."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        """The microseconds."""
        return None if value is None else micros_of(value)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        """The moment, in UTC."""
        return None if value is None else datetime_of(value).astimezone(UTC)


class _CompactUuid(TypeDecorator[Any]):
    """A UUID as its 16 bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> bytes | None:
        return None if value is None else value.bytes

    def process_result_value(self, value: bytes | None, dialect: Any) -> Any:
        from uuid import UUID

        return None if value is None else UUID(bytes=value)


def storable(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """What SQLite keeps a column of `type_` as."""
    if isinstance(type_, Uuid):
        return _CompactUuid()
    if isinstance(type_, DateTime) and type_.timezone:
        return Moment()
    if isinstance(type_, Numeric) and type_.asdecimal:
        return ExactDecimal()
    return type_
