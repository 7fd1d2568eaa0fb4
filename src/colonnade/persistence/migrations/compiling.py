"""The files of migrations as statements of one engine: Alembic's operations, written and not run.

Alembic's own way of running needs a connection of SQLAlchemy, which there is on neither engine.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Column, Index, Table
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateIndex

from colonnade.persistence.migrations.fill import filling
from colonnade.persistence.migrations.line import InvalidMigration, Line, Migration, Part
from colonnade.persistence.migrations.safety import refusal
from colonnade.persistence.migrations.steps import (
    Added,
    Change,
    Dropped,
    Fill,
    Loosened,
    Made,
    Rebuild,
    Statement,
    Step,
    Steps,
)
from colonnade.persistence.tables.declared import UnfitTable, check_table, definitions
from colonnade.persistence.tables.marking import mark, placed

__all__ = ["steps_of"]

Place = Callable[[str], str]

_CREATE_INDEX = re.compile(r"^CREATE (UNIQUE )?INDEX ")


def steps_of(migration: Migration, part: Part, line: Line, dialect: Dialect, physical: Place) -> Steps:
    """What a part of `migration` comes to; nothing where it has no such part. Raises `InvalidMigration`."""
    work = migration.load().get(part)
    written: list[str] = []
    context = MigrationContext.configure(
        dialect=dialect,
        opts={"as_sql": True, "literal_binds": True, "output_buffer": _Written(written)},
    )
    steps = _Steps(context, written, f"{migration.path}, {part}()", part, line, physical)
    if work is not None:
        with _installed(steps):
            try:
                work()
            except InvalidMigration:
                raise
            except (SQLAlchemyError, CommandError, UnfitTable, NotImplementedError) as error:
                raise InvalidMigration(steps.place, str(error), "mend the file") from error
            except Exception as error:  # whatever the file raises
                raise InvalidMigration(steps.place, f"{type(error).__name__}: {error}", "mend the file") from error
    return Steps(tuple(steps.steps), tuple(steps.changes))


@contextmanager
def _installed(steps: "_Steps") -> Iterator[None]:
    token = filling.set(steps.fill)
    try:
        with Operations.context(steps.context) as operations:
            proxied: Any = operations
            proxied.invoke, proxied.batch_alter_table, proxied.get_bind = steps.invoke, steps.batch, steps.bind
            steps.operations = operations
            yield
    finally:
        filling.reset(token)


class _Written:
    """What Alembic takes for a file."""

    def __init__(self, statements: list[str]) -> None:
        self._statements = statements

    def write(self, text: str) -> None:
        self._statements.append(text.strip().removesuffix(";"))

    def flush(self) -> None:
        """There is nothing to flush."""


class _Steps:
    """Takes what a migration asks of `alembic.op`."""

    def __init__(
        self,
        context: MigrationContext,
        written: list[str],
        place: str,
        part: Part,
        line: Line,
        physical: Place,
    ) -> None:
        self.context = context
        self.operations: Operations | None = None
        self.place = place
        self.steps: list[Step] = []
        self.changes: list[Change] = []
        self._written = written
        self._part = part
        self._line = line
        self._physical = physical
        dialect: Any = context.dialect
        self._dialect = dialect
        self._in_place = self._dialect.name == "postgresql"
        self._made: frozenset[str] = frozenset()

    def invoke(self, operation: Any) -> Any:
        """Write one operation down; raises `InvalidMigration` for one that is not safe."""
        refused = refusal(operation, self._part, self._made)
        if refused is not None:
            raise InvalidMigration(f"{self.place}, {_told(operation)}", *refused)
        match operation:
            case ops.CreateTableOp():
                return self._create_table(operation)
            case ops.CreateIndexOp():
                return self._create_index(operation)
            case ops.DropIndexOp():
                return self._drop_index(operation)
            case ops.AddColumnOp():
                return self._add_column(operation)
            case ops.DropTableOp():
                self._invoke(operation)
                name = operation.table_name.replace("'", "''")
                self._add(f"DELETE FROM {self._named('own_tables')} WHERE name = '{name}'")
                self.changes.append(Dropped(operation.table_name))
            case ops.AlterColumnOp() | ops.DropColumnOp() | ops.AddConstraintOp() | ops.DropConstraintOp():
                self._alter(operation)
            case _:
                return self._invoke(operation)
        return None

    def batch(self, *_: Any, **__: Any) -> Any:
        """Not needed: what SQLite cannot change in place is copied anyway."""
        raise InvalidMigration(self.place, "it alters a table in a batch", "call the operations one by one")

    def bind(self) -> Any:
        """There is no connection: what is done must be known before it is begun."""
        raise InvalidMigration(self.place, "it asks for a connection", "use fill() to change rows")

    def fill(self, table: str, values: str, where: str) -> None:
        """Write a filling down."""
        self.steps.append(Fill(self._placed(self._table(table)), values, where))

    def _create_table(self, operation: ops.CreateTableOp) -> Table:
        table = operation.to_table(self.context)
        check_table(table)
        for sql in definitions(table, self._dialect):
            self._add(sql)
        self._made |= {table.name}
        self.changes.append(Made(table.name, tuple(column.name for column in table.columns)))
        self.changes.extend(Made(table.name, index=str(index.name)) for index in table.indexes)
        return table

    def _create_index(self, operation: ops.CreateIndexOp) -> None:
        index = self._declared_index(operation) or operation.to_index(self.context)
        sql = str(CreateIndex(index).compile(dialect=self._dialect))
        self.changes.append(Made(operation.table_name, index=str(index.name)))
        if not self._in_place:
            self._add(sql)
            return
        name = f"{self._physical(operation.table_name)}_{index.name}"
        sql = self._placed(_CREATE_INDEX.sub(r"CREATE \1INDEX CONCURRENTLY ", sql, count=1))
        self.steps.append(Statement(sql, index=name, alone=True))

    def _declared_index(self, operation: ops.CreateIndexOp) -> Index | None:
        # As it is declared it is in the order that statements ask for, which depends on what may be NULL
        declared = next((table for table in self._line.tables if table.name == operation.table_name), None)
        if declared is None:
            return None
        names = [column if isinstance(column, str) else None for column in operation.columns]
        for index in declared.indexes:
            if index.name == operation.index_name and bool(index.unique) == bool(operation.unique):
                expressions = [each.name if isinstance(each, Column) else None for each in index.expressions]
                if expressions == names:
                    return index
        return None

    def _drop_index(self, operation: ops.DropIndexOp) -> None:
        table = operation.table_name
        if table is None:
            raise InvalidMigration(self.place, f"drop_index {operation.index_name} names no table", "give table_name")
        index = self._qualified(mark(table, str(operation.index_name)))
        if self._in_place:
            sql = self._placed(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")
            self.steps.append(Statement(sql, alone=True))
        else:
            self._add(f"DROP INDEX {index}")

    def _add_column(self, operation: ops.AddColumnOp) -> None:
        column: Column[Any] = operation.column
        self.changes.append(Added(operation.table_name, column.name, column.type.compile(self._dialect)))
        self._invoke(self._on_mark(operation))

    def _alter(self, operation: Any) -> None:
        table = operation.table_name
        match operation:
            case ops.DropColumnOp():
                self.changes.append(Dropped(table, operation.column_name))
            case ops.AlterColumnOp(modify_nullable=nullable, modify_server_default=default):
                if nullable or default not in (False, None):
                    self.changes.append(Loosened(table, operation.column_name))
            case _:
                pass
        if not self._in_place:
            if Rebuild(table) not in self.steps:
                self.steps.append(Rebuild(table))
        elif isinstance(operation, ops.AlterColumnOp) and operation.modify_nullable is False:
            self._forbid_null(table, operation.column_name)
        elif isinstance(operation, ops.CreateCheckConstraintOp):
            condition: Any = operation.condition
            if not isinstance(condition, str):
                condition = condition.compile(dialect=self._dialect, compile_kwargs={"literal_binds": True})
            self._constrain(table, str(operation.constraint_name), str(condition))
        elif isinstance(operation, ops.DropConstraintOp):
            self._invoke(operation)
        else:
            self._invoke(self._on_mark(operation))

    def _forbid_null(self, table: str, column: str) -> None:
        # SET NOT NULL does not look at the rows where a valid constraint says that there is no NULL
        quoted, name = self._dialect.identifier_preparer.quote(column), f"{table}_{column}_is_there"
        self._constrain(table, name, f"{quoted} IS NOT NULL")
        self._add(f"ALTER TABLE {self._table(table)} ALTER COLUMN {quoted} SET NOT NULL")
        self._add(f"ALTER TABLE {self._table(table)} DROP CONSTRAINT {self._dialect.identifier_preparer.quote(name)}")

    def _constrain(self, table: str, constraint: str, condition: str) -> None:
        # Looking at the rows that are there keeps nobody from writing; only adding the constraint does, for a moment
        name = self._dialect.identifier_preparer.quote(constraint)
        self._add(f"ALTER TABLE {self._table(table)} ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
        self._add(f"ALTER TABLE {self._table(table)} VALIDATE CONSTRAINT {name}")

    def _on_mark(self, operation: Any) -> Any:
        # What Alembic writes itself takes the name as it is
        operation.table_name = f"@{operation.table_name}"
        operation.schema = self._dialect.tables_schema
        return operation

    def _invoke(self, operation: Any) -> Any:
        self._written.clear()
        assert self.operations is not None
        result = Operations.invoke(self.operations, operation)
        for sql in self._written:
            self._add(sql)
        return result

    def _add(self, sql: str) -> None:
        self.steps.append(Statement(self._placed(sql.strip())))

    def _table(self, name: str) -> str:
        return self._qualified(mark(name))

    def _named(self, table: str) -> str:
        return self._qualified(f'"{table}"')

    def _qualified(self, quoted: str) -> str:
        schema = self._dialect.tables_schema
        return quoted if schema is None else f"{self._dialect.identifier_preparer.quote(schema)}.{quoted}"

    def _placed(self, sql: str) -> str:
        return placed(sql, self._physical)


def _told(operation: Any) -> str:
    """The operation as its author wrote it, about."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(operation).__name__.removesuffix("Op")).lower()
    name = {"execute_s_q_l": "execute"}.get(name, name)
    column = getattr(operation, "column", None)
    what = column.name if column is not None else getattr(operation, "column_name", None)
    what = what or getattr(operation, "index_name", None) or getattr(operation, "constraint_name", None)
    table = getattr(operation, "table_name", None) or getattr(operation, "source_table", None)
    return " ".join(str(each) for each in (name, what, "of" if what and table else None, table) if each)
