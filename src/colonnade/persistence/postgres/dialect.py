"""SQLAlchemy's tables and statements as this store's SQL, in the driver's own values.

Every column holds what it holds on SQLite: whole numbers of 64 bits, exact decimals, moments with a zone, text that is
compared byte by byte.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import types
from sqlalchemy.dialects.postgresql.base import (
    PGCompiler,
    PGDDLCompiler,
    PGDialect,
    PGIdentifierPreparer,
    PGTypeCompiler,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeEngine

from colonnade.persistence.tables.marked_sql import MarkedNames, MarkedTables
from colonnade.persistence.tables.values import checked_moment, decimals_of

__all__ = ["PostgresTablesDialect", "postgres_dialect"]

Convert = Callable[[Any], Any]


class _Cast:
    """A type that parameters are cast to, so that the server need not guess what they are."""

    render_bind_cast = True


class _Uuid(_Cast, types.Uuid[Any]):
    def bind_processor(self, dialect: Dialect) -> Convert | None:
        return None if self.as_uuid else lambda value: None if value is None else UUID(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert | None:
        return None if self.as_uuid else lambda value: None if value is None else str(value)


class _Decimal(_Cast, types.Numeric[Any]):
    def bind_processor(self, dialect: Dialect) -> Convert:
        return decimals_of(self)

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


class _Moment(_Cast, types.DateTime):
    def bind_processor(self, dialect: Dialect) -> Convert:
        return checked_moment


class _Json(_Cast, types.JSON):
    pass


class _Enum(types.Enum):
    """Text: a type of its own would have to be changed before a value is added."""

    render_bind_cast = False

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **{**options, "native_enum": False})


class _String(_Cast, types.String):
    pass


class _Integer(_Cast, types.Integer):
    pass


class _BigInteger(_Cast, types.BigInteger):
    pass


class _SmallInteger(_Cast, types.SmallInteger):
    pass


class _Boolean(_Cast, types.Boolean):
    pass


class _Float(_Cast, types.Float[Any]):
    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


class _Bytes(_Cast, types.LargeBinary):
    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


class _Date(_Cast, types.Date):
    pass


class _Time(_Cast, types.Time):
    pass


# SQLAlchemy's compilers are not typed
_TypeCompiler: Any = PGTypeCompiler
_DDLCompiler: Any = PGDDLCompiler
_Compiler: Any = PGCompiler
_Preparer: Any = PGIdentifierPreparer


class _Types(_TypeCompiler):  # type: ignore[misc]
    def _text(self, type_: TypeEngine[Any], **_: Any) -> str:
        return "TEXT"

    def _integer(self, type_: TypeEngine[Any], **_: Any) -> str:
        return "BIGINT"

    def _real(self, type_: TypeEngine[Any], **_: Any) -> str:
        return "DOUBLE PRECISION"

    def _moment(self, type_: TypeEngine[Any], **_: Any) -> str:
        return "TIMESTAMP WITH TIME ZONE"

    visit_string = visit_unicode = visit_text = visit_unicode_text = visit_enum = visit_ENUM = _text
    visit_VARCHAR = visit_CHAR = visit_TEXT = visit_NVARCHAR = visit_NCHAR = _text
    visit_integer = visit_big_integer = visit_small_integer = _integer
    visit_INTEGER = visit_BIGINT = visit_SMALLINT = _integer
    visit_float = visit_double = visit_FLOAT = visit_REAL = visit_DOUBLE = visit_DOUBLE_PRECISION = _real
    visit_datetime = visit_DATETIME = visit_TIMESTAMP = _moment


class _Definitions(_DDLCompiler):  # type: ignore[misc]
    def get_column_specification(self, column: Any, **kwargs: Any) -> str:
        text: str = super().get_column_specification(column, **kwargs)
        if not isinstance(column.type, types.String) or getattr(column.type, "collation", None):
            return text
        # As SQLite compares, and so that orders and pages are the same on both
        return text.replace("TEXT", 'TEXT COLLATE "C"', 1)


class _Names(MarkedNames, _Preparer):  # type: ignore[misc]
    pass


class _Statements(MarkedTables, _Compiler):  # type: ignore[misc]
    pass


class PostgresTablesDialect(PGDialect):
    """PostgreSQL, with names that are marked and parameters that are numbered."""

    supports_statement_cache = True
    statement_compiler = _Statements
    ddl_compiler = _Definitions
    type_compiler_cls = _Types
    preparer = _Names
    colspecs = {  # noqa: RUF012 - SQLAlchemy's own attribute
        types.Uuid: _Uuid,
        types.Numeric: _Decimal,
        types.DateTime: _Moment,
        types.JSON: _Json,
        types.Enum: _Enum,
        types.String: _String,
        types.Integer: _Integer,
        types.BigInteger: _BigInteger,
        types.SmallInteger: _SmallInteger,
        types.Boolean: _Boolean,
        types.Float: _Float,
        types.LargeBinary: _Bytes,
        types.Date: _Date,
        types.Time: _Time,
    }


def postgres_dialect() -> Dialect:
    """The dialect of this store's driver."""
    make: Any = PostgresTablesDialect
    dialect: Dialect = make(
        paramstyle="numeric_dollar",
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
    )
    return dialect
