"""SQLAlchemy's tables and statements as the driver's SQL, compiled once a shape."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table, bindparam
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update
from sqlalchemy.dialects.sqlite import insert as sql_insert
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable, MetaData
from sqlalchemy.sql import quoted_name
from sqlalchemy.types import TypeEngine

from colonnade.application.writes import RowWrite, WriteKind
from colonnade.persistence.tables.types import storable
from colonnade.persistence.unit import Write

__all__ = ["WriteCompiler", "create_statements", "physical_table"]

Convert = Callable[[Any], Any]


def physical_table(table: Table, name: str) -> Table:
    """`table` under another name, its indexes renamed with it, its columns stored exactly."""
    copy = table.to_metadata(MetaData(), name=name)
    for column in copy.columns:
        column.type = storable(column.type)
    for index in copy.indexes:
        index.name = quoted_name(f"{name}_{index.name}", None)
    return copy


def create_statements(table: Table, dialect: Dialect) -> list[str]:
    """The statements that make a table and its indexes."""
    return [
        str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)),
        *[
            str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect))
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        ],
    ]


class WriteCompiler:
    """Turns row writes into statements for the driver; `tables` says which physical table stands for which."""

    def __init__(self, dialect: Dialect, tables: Mapping[Table, Table]) -> None:
        self._dialect = dialect
        self._tables = tables
        self._shapes: dict[
            tuple[WriteKind, Table, tuple[str, ...]], tuple[str, Sequence[tuple[str, Convert | None]]]
        ] = {}

    def compile(self, write: RowWrite) -> Write:
        """The statement of one write."""
        names = tuple(write.values)
        shape = self._shapes.get((write.kind, write.table, names))
        if shape is None:
            shape = self._shapes[write.kind, write.table, names] = self._compiled(write.kind, write.table, names)
        sql, binds = shape
        given = dict(write.values)
        for column, value in zip(write.table.primary_key.columns, write.key, strict=True):
            given[column.name] = value
        parameters = [given[name] if convert is None else convert(given[name]) for name, convert in binds]
        return Write(sql, parameters, must_hit=write.kind in (WriteKind.CHANGE, WriteKind.INCREMENT))

    def _compiled(
        self, kind: WriteKind, logical: Table, names: tuple[str, ...]
    ) -> tuple[str, Sequence[tuple[str, Convert | None]]]:
        table = self._tables[logical]
        key_names = [column.name for column in table.primary_key.columns]
        values: dict[str, Any] = {name: bindparam(f"v_{name}", type_=table.c[name].type) for name in names}
        keys = {name: bindparam(f"v_{name}", type_=table.c[name].type) for name in key_names}
        here = [table.c[name] == bind for name, bind in keys.items()]
        statement: Any
        match kind:
            case WriteKind.INSERT:
                statement = sql_insert(table).values(keys | values)
            case WriteKind.UPSERT:
                inserted = sql_insert(table).values(keys | values)
                statement = (
                    inserted.on_conflict_do_update(key_names, set_={name: inserted.excluded[name] for name in names})
                    if names
                    else inserted.on_conflict_do_nothing()
                )
            case WriteKind.CHANGE:
                statement = sql_update(table).where(*here).values(values)
            case WriteKind.INCREMENT:
                sums = {name: table.c[name] + bind for name, bind in values.items()}
                statement = sql_update(table).where(*here).values(sums)
            case WriteKind.DELETE:
                statement = sql_delete(table).where(*here)
        compiled = statement.compile(dialect=self._dialect)
        binds = [
            (name.removeprefix("v_"), self._converter(table.c[name.removeprefix("v_")].type))
            for name in compiled.positiontup or ()
        ]
        return str(compiled), binds

    def _converter(self, type_: TypeEngine[Any]) -> Convert | None:
        return type_.dialect_impl(self._dialect).bind_processor(self._dialect)
