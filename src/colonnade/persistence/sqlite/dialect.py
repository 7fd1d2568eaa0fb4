"""SQLAlchemy's tables and statements as this store's SQL.

Values are kept so that nothing is lost and comparisons are right: a UUID as its 16 bytes, a decimal as its digits with
a collation of their order, a moment as microseconds since 1970-01-01T00:00:00Z. Tables are STRICT.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import types
from sqlalchemy.dialects.sqlite.base import (
    SQLiteCompiler,
    SQLiteDDLCompiler,
    SQLiteDialect,
    SQLiteIdentifierPreparer,
    SQLiteTypeCompiler,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, ColumnClause, UnaryExpression
from sqlalchemy.types import TypeEngine

from colonnade.persistence.sqlite.decimals import COLLATION
from colonnade.persistence.tables.exactness import check_average, check_computed, is_decimal
from colonnade.persistence.tables.marked_sql import MarkedNames, MarkedTables
from colonnade.persistence.tables.values import (
    checked_moment,
    checked_real,
    checked_text,
    checked_whole,
    decimals_of,
)
from colonnade.world import datetime_of, micros_of

__all__ = ["SqliteTablesDialect", "sqlite_dialect"]

Convert = Callable[[Any], Any]


class _Uuid(types.Uuid[Any]):
    """A UUID as its 16 bytes."""

    def bind_processor(self, dialect: Dialect) -> Convert:
        if self.as_uuid:
            return lambda value: None if value is None else value.bytes
        return lambda value: None if value is None else UUID(value).bytes

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert:
        if self.as_uuid:
            return lambda value: None if value is None else UUID(bytes=value)
        return lambda value: None if value is None else str(UUID(bytes=value))


class _Decimal(types.Numeric[Any]):
    """A decimal as its digits; with a scale, all values have that many places."""

    def bind_processor(self, dialect: Dialect) -> Convert:
        decimal_of = decimals_of(self)

        def bind(value: Any) -> str | None:
            exact = decimal_of(value)
            return None if exact is None else str(exact)

        return bind

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert:
        return lambda value: None if value is None else Decimal(value)


class _Moment(types.DateTime):
    """A moment that knows its zone, as microseconds since 1970-01-01T00:00:00Z; it comes back in UTC."""

    def bind_processor(self, dialect: Dialect) -> Convert:
        def bind(value: datetime | None) -> int | None:
            moment = checked_moment(value)
            return None if moment is None else micros_of(moment)

        return bind

    def result_processor(self, dialect: Dialect, coltype: object) -> Convert:
        return lambda value: None if value is None else datetime_of(value)


class _String(types.String):
    def bind_processor(self, dialect: Dialect) -> Convert:
        return checked_text


class _Enum(types.Enum):
    """Not one more String to SQLAlchemy, which looks types up by their bases."""


class _Integer(types.Integer):
    def bind_processor(self, dialect: Dialect) -> Convert:
        return checked_whole


class _Float(types.Float[Any]):
    def bind_processor(self, dialect: Dialect) -> Convert:
        return checked_real


class _Types(SQLiteTypeCompiler):
    """The five types that a STRICT table knows."""

    def _text(self, type_: TypeEngine[Any], **_: Any) -> str:
        return "TEXT"

    def _integer(self, type_: TypeEngine[Any], **_: Any) -> str:
        return "INTEGER"

    def _real(self, type_: TypeEngine[Any], **_: Any) -> str:
        return "REAL"

    def _blob(self, type_: TypeEngine[Any], **_: Any) -> str:
        return "BLOB"

    def _decimal(self, type_: TypeEngine[Any], **_: Any) -> str:
        return f"TEXT COLLATE {COLLATION}"

    visit_string = visit_unicode = visit_text = visit_unicode_text = visit_enum = visit_JSON = _text
    visit_VARCHAR = visit_CHAR = visit_TEXT = visit_NVARCHAR = visit_NCHAR = visit_date = visit_time = _text
    visit_DATE = visit_TIME = _text
    visit_integer = visit_big_integer = visit_small_integer = visit_boolean = visit_datetime = _integer
    visit_INTEGER = visit_BIGINT = visit_SMALLINT = visit_BOOLEAN = visit_TIMESTAMP = visit_DATETIME = _integer
    visit_float = visit_double = visit_FLOAT = visit_REAL = visit_DOUBLE = visit_DOUBLE_PRECISION = _real
    visit_large_binary = visit_BLOB = visit_BINARY = visit_VARBINARY = visit_uuid = visit_UUID = _blob
    visit_numeric = visit_NUMERIC = visit_DECIMAL = _decimal


# SQLAlchemy's compilers are not typed
_DDLCompiler: Any = SQLiteDDLCompiler
_Preparer: Any = SQLiteIdentifierPreparer
_Compiler: Any = SQLiteCompiler


class _Names(MarkedNames, _Preparer):  # type: ignore[misc]
    """Marks tables and indexes."""


class _Definitions(_DDLCompiler):  # type: ignore[misc]
    def post_create_table(self, table: Any) -> str:
        options: str = super().post_create_table(table)
        if "STRICT" in options:
            return options
        return f"{options}, STRICT" if options else " STRICT"


_DECIMAL_FUNCTIONS = {operators.add: "decimal_add", operators.sub: "decimal_sub", operators.mul: "decimal_mul"}


class _Statements(MarkedTables, _Compiler):  # type: ignore[misc]
    """Marks the tables that statements read, and keeps decimals exact."""

    def visit_binary(self, binary: BinaryExpression[Any], override_operator: Any = None, **kw: Any) -> str:
        check_computed(binary)
        operator = override_operator or binary.operator
        left, right = binary.left, binary.right
        if not (is_decimal(left.type) or is_decimal(right.type)):
            return str(super().visit_binary(binary, override_operator=override_operator, **kw))
        if operator in (operators.add, operators.sub, operators.mul):
            function = _DECIMAL_FUNCTIONS[operator]
            first, second = (self.process(side, **kw) for side in (left, right))
            return f"{function}({first}, {second}) COLLATE {COLLATION}"
        if not operators.is_comparison(operator) or isinstance(left, ColumnClause) or isinstance(right, ColumnClause):
            # A column brings its collation, and makes text of a number that it is compared with
            return str(super().visit_binary(binary, override_operator=override_operator, **kw))
        sign = _COMPARISONS.get(operator)
        if sign is None:
            return str(super().visit_binary(binary, override_operator=override_operator, **kw))
        first, second = (f"CAST({self.process(side, **kw)} AS TEXT)" for side in (left, right))
        return f"{first} COLLATE {COLLATION} {sign} {second}"

    def visit_unary(self, unary: UnaryExpression[Any], **kw: Any) -> str:
        if unary.operator is operators.neg and is_decimal(unary.element.type):
            return f"decimal_sub(0, {self.process(unary.element, **kw)}) COLLATE {COLLATION}"
        return str(super().visit_unary(unary, **kw))

    def visit_funcfilter(self, funcfilter: Any, **kw: Any) -> str:
        text: str = super().visit_funcfilter(funcfilter, **kw)
        if is_decimal(funcfilter.type):
            text = f"{text.replace(f' COLLATE {COLLATION} FILTER', ' FILTER', 1)} COLLATE {COLLATION}"
        return text

    def visit_sum_func(self, function: Any, **kw: Any) -> str:
        arguments = self.function_argspec(function, **kw)
        return f"decimal_sum{arguments} COLLATE {COLLATION}" if is_decimal(function.type) else f"sum{arguments}"

    def visit_avg_func(self, function: Any, **kw: Any) -> str:
        check_average(function)
        return f"avg{self.function_argspec(function, **kw)}"


_COMPARISONS = {
    operators.eq: "=",
    operators.ne: "<>",
    operators.lt: "<",
    operators.le: "<=",
    operators.gt: ">",
    operators.ge: ">=",
}


class SqliteTablesDialect(SQLiteDialect):
    """SQLite, with exact values in STRICT tables whose names are marked."""

    supports_statement_cache = True
    tables_schema = None
    statement_compiler = _Statements
    ddl_compiler = _Definitions
    type_compiler_cls = _Types
    preparer = _Names
    colspecs = {  # noqa: RUF012 - SQLAlchemy's own attribute
        **SQLiteDialect.colspecs,
        types.Uuid: _Uuid,
        types.Numeric: _Decimal,
        types.DateTime: _Moment,
        types.Enum: _Enum,
        types.String: _String,
        types.Integer: _Integer,
        types.Float: _Float,
    }


def sqlite_dialect() -> SqliteTablesDialect:
    """The dialect of this store's driver."""
    return SqliteTablesDialect(
        paramstyle="qmark",
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
    )
