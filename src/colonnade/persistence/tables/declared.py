"""What the tables of read models must be like, and what tells one shape of them from another."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from sqlalchemy import CheckConstraint, DateTime, Interval, Numeric, Table, UniqueConstraint
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

__all__ = ["UnfitTable", "check_table", "definitions", "has_row_rules", "shape_of"]


class UnfitTable(ValueError):
    """A declared table cannot be a read model."""

    def __init__(self, table: str, reason: str, remedy: str) -> None:
        super().__init__(table, reason, remedy)
        self.table, self.reason, self.remedy = table, reason, remedy

    def __str__(self) -> str:
        return f"Table {self.table} cannot be a read model: {self.reason}; {self.remedy}."


def check_table(table: Table) -> None:
    """Raise `UnfitTable` for what no read model may have."""
    name = table.name
    if not (name.isascii() and name.isidentifier()):
        raise UnfitTable(name, "its name is no identifier", "use letters, digits and _")
    if table.schema is not None:
        raise UnfitTable(name, f"it names the schema {table.schema}", "leave it out: a service has one database")
    if not table.primary_key.columns:
        raise UnfitTable(name, "it has no primary key", "mark the columns that tell its rows apart as primary_key")
    if table.foreign_key_constraints:
        raise UnfitTable(
            name, "it has foreign keys", "leave them out: rows of different tables are written in no certain order"
        )
    for column in table.columns:
        place = f"its column {column.name}"
        if isinstance(column.type, DateTime) and not column.type.timezone:
            raise UnfitTable(name, f"{place} holds times without a zone", "write DateTime(timezone=True)")
        if isinstance(column.type, Interval):
            raise UnfitTable(name, f"{place} holds an interval", "keep the seconds in an Integer or a Float")
        if isinstance(column.type, Numeric) and not column.type.asdecimal:
            raise UnfitTable(name, f"{place} holds floats in a Numeric", "write Float")
        if column.default is not None or column.onupdate is not None:
            raise UnfitTable(name, f"{place} has a default that Python computes", "use server_default")


def shape_of(tables: Iterable[Table]) -> str:
    """A digest of what the tables look like: columns, types, keys, constraints and indexes."""
    text = repr([_shape(table) for table in sorted(tables, key=lambda table: table.name)])
    return sha256(text.encode()).hexdigest()[:16]


def _shape(table: Table) -> object:
    return (
        table.name,
        [
            (column.name, repr(column.type), column.nullable, column.primary_key, _text(column.server_default))
            for column in table.columns
        ],
        sorted(
            (str(index.name), index.unique, [str(expression) for expression in index.expressions])
            for index in table.indexes
        ),
        sorted(
            [column.name for column in constraint.columns]
            for constraint in table.constraints
            if isinstance(constraint, UniqueConstraint)
        ),
        sorted(str(constraint.sqltext) for constraint in table.constraints if isinstance(constraint, CheckConstraint)),
    )


def _text(default: object) -> str:
    return str(getattr(default, "arg", default))


def definitions(table: Table, dialect: Dialect) -> Sequence[str]:
    """The statements that make `table` and its indexes, with marks in place of their names."""
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    return [
        str(CreateTable(table).compile(dialect=dialect)),
        *(str(CreateIndex(index).compile(dialect=dialect)) for index in indexes),
    ]


def has_row_rules(table: Table) -> bool:
    """Whether its rows are bound by more than their key and their types, so that every state on the way counts."""
    return any(isinstance(each, UniqueConstraint | CheckConstraint) for each in table.constraints) or any(
        index.unique for index in table.indexes
    )
