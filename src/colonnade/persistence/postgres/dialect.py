"""SQLAlchemy's tables and statements as this store's SQL, in the driver's own values.

Every column holds what it holds on SQLite: whole numbers of 64 bits, exact decimals, moments with a zone, text that is
compared byte by byte.
"""

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Alias, Column, Select, Table, types
from sqlalchemy.dialects.postgresql.base import (
    PGCompiler,
    PGDDLCompiler,
    PGDialect,
    PGIdentifierPreparer,
    PGTypeCompiler,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.types import TypeEngine

from colonnade.persistence.tables.exactness import check_average, check_computed
from colonnade.persistence.tables.marked_sql import MarkedNames, MarkedTables
from colonnade.persistence.tables.values import (
    checked_moment,
    checked_real,
    checked_text,
    checked_whole,
    decimals_of,
)

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


class _JsonPlace(_Cast, types.JSON.JSONIntIndexType):
    __visit_name__ = "json_int_index"


class _JsonPath(types.JSON.JSONPathType):
    def bind_processor(self, dialect: Dialect) -> Convert:
        return lambda path: [str(step) for step in path]


class _Enum(types.Enum):
    """Text: a type of its own would have to be changed before a value is added."""

    render_bind_cast = False

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **{**options, "native_enum": False})


class _String(_Cast, types.String):
    def bind_processor(self, dialect: Dialect) -> Convert:
        return checked_text


class _Whole(_Cast):
    def bind_processor(self, dialect: Dialect) -> Convert:
        return checked_whole


class _Integer(_Whole, types.Integer):
    pass


class _BigInteger(_Whole, types.BigInteger):
    pass


class _SmallInteger(_Whole, types.SmallInteger):
    pass


class _Boolean(_Cast, types.Boolean):
    pass


class _Float(_Cast, types.Float[Any]):
    def bind_processor(self, dialect: Dialect) -> Convert:
        return checked_real

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

    def visit_create_index(self, create: Any, **kwargs: Any) -> str:
        text: str = super().visit_create_index(create, **kwargs)
        index = create.element
        options = index.dialect_options["postgresql"]
        if options["using"] or options["ops"] or not all(isinstance(each, Column) for each in index.expressions):
            return text
        names = [self.preparer.quote(column.name) for column in index.expressions]
        # In the order that statements ask for
        ordered = [
            f"{name} NULLS FIRST" if column.nullable else name
            for name, column in zip(names, index.expressions, strict=True)
        ]
        return text.replace(f"({', '.join(names)})", f"({', '.join(ordered)})", 1)


class _Names(MarkedNames, _Preparer):  # type: ignore[misc]
    pass


class _Statements(MarkedTables, _Compiler):  # type: ignore[misc]
    """Says what SQLite means by the same words."""

    def visit_binary(self, binary: Any, override_operator: Any = None, **kw: Any) -> str:
        check_computed(binary)
        return str(super().visit_binary(binary, override_operator=override_operator, **kw))

    def visit_sum_func(self, function: Any, **kw: Any) -> str:
        text = f"sum{self.function_argspec(function, **kw)}"
        # Whose sum would be a decimal
        return f"CAST({text} AS BIGINT)" if isinstance(function.type, types.Integer) else text

    def visit_avg_func(self, function: Any, **kw: Any) -> str:
        check_average(function)
        return f"avg(CAST({self.process(function.clause_expr, **kw)} AS DOUBLE PRECISION))"

    def visit_funcfilter(self, funcfilter: Any, **kw: Any) -> str:
        text: str = super().visit_funcfilter(funcfilter, **kw)
        # The filter belongs to the function, not to what it is cast to
        return _FILTERED_CAST.sub(r"CAST(\1 \2 AS BIGINT)", text)

    def visit_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{super().visit_like_op_binary(binary, operator, **kw)}{_escape(binary)}"

    def visit_not_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{super().visit_not_like_op_binary(binary, operator, **kw)}{_escape(binary)}"

    def visit_ilike_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{super().visit_ilike_op_binary(binary, operator, **kw)}{_escape(binary)}"

    def visit_not_ilike_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"{super().visit_not_ilike_op_binary(binary, operator, **kw)}{_escape(binary)}"

    def order_by_clause(self, select: Any, **kw: Any) -> str:
        """NULL comes before all values."""
        froms = select.get_final_froms() if isinstance(select, Select) else None
        certain = froms is not None and all(isinstance(each, Table | Alias) for each in froms)
        ordered = [f"{self.process(each, **kw)}{_nulls(each, certain)}" for each in select._order_by_clauses]
        return f" ORDER BY {', '.join(ordered)}" if ordered else ""


_FILTERED_CAST = re.compile(r"^CAST\((.*) AS BIGINT\) (FILTER \(.*\))$", re.DOTALL)


def _escape(binary: Any) -> str:
    # Else a backslash would be one
    return "" if binary.modifiers.get("escape") is not None else " ESCAPE ''"


def _nulls(ordered: Any, certain: bool) -> str:
    """Where NULLs go in an order; left out where there are none, so that any index of that order will do."""
    falling = False
    while True:
        modifier = getattr(ordered, "modifier", None)
        if modifier in (operators.nulls_first_op, operators.nulls_last_op):
            return ""
        falling = falling or modifier is operators.desc_op
        if isinstance(ordered, UnaryExpression) or ordered.__visit_name__ == "label_reference":
            ordered = ordered.element
            continue
        if certain and isinstance(ordered, Column) and not ordered.nullable:
            return ""
        return " NULLS LAST" if falling else " NULLS FIRST"


class PostgresTablesDialect(PGDialect):
    """PostgreSQL, with names that are marked and parameters that are numbered."""

    supports_statement_cache = True
    tables_schema: str | None = None
    statement_compiler = _Statements
    ddl_compiler = _Definitions
    type_compiler_cls = _Types
    preparer = _Names
    colspecs = {  # noqa: RUF012 - SQLAlchemy's own attribute
        types.Uuid: _Uuid,
        types.Numeric: _Decimal,
        types.DateTime: _Moment,
        types.JSON: _Json,
        types.JSON.JSONIntIndexType: _JsonPlace,
        types.JSON.JSONPathType: _JsonPath,
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


def postgres_dialect(schema: str | None = None) -> Dialect:
    """The dialect of this store's driver; all tables are in `schema`, else where the connection looks for them."""
    make: Any = PostgresTablesDialect
    dialect: PostgresTablesDialect = make(
        paramstyle="numeric_dollar",
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
    )
    dialect.tables_schema = schema
    return dialect
