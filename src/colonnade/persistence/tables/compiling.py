"""Writes on read models as the driver's statements, compiled once a shape."""

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from operator import itemgetter
from typing import Any

from sqlalchemy import Table, bindparam
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update
from sqlalchemy.engine.interfaces import Dialect

from colonnade.application.writes import RowWrite, Write, WriteKind
from colonnade.persistence.tables.marking import placed
from colonnade.persistence.tables.statements import Statements
from colonnade.persistence.unit import Write as WriteOne
from colonnade.persistence.unit import WriteMany

__all__ = ["UnstorableValue", "Unwritable", "WriteCompiler"]

Convert = Callable[[Any], Any]


class Unwritable(ValueError):
    """A write that cannot be put to the database at all."""


class UnstorableValue(Unwritable):
    """A value does not fit its column."""

    def __init__(self, table: str, column: str, reason: str) -> None:
        super().__init__(table, column, reason)
        self.table, self.column, self.reason = table, column, reason

    def __str__(self) -> str:
        return f"Column {self.column} of {self.table} cannot hold a value: {self.reason}."


class _RowShape:
    """The one statement of all writes of a kind on the same columns of a table."""

    __slots__ = ("_columns", "_converters", "_pick", "_table", "must_hit", "sql")

    def __init__(
        self, kind: WriteKind, table: Table, names: tuple[str, ...], dialect: Dialect, sql_on: Convert
    ) -> None:
        compiled = _statement(kind, table, names, _insert_of(dialect)).compile(dialect=dialect)
        self.sql: str = sql_on(compiled.string)
        self.must_hit = kind is WriteKind.CHANGE or kind is WriteKind.INCREMENT
        given = [*(column.key for column in table.primary_key.columns), *names]
        order = [given.index(name.removeprefix("v_")) for name in compiled.positiontup or ()]
        # itemgetter of one place gives no tuple
        self._pick = itemgetter(*order) if len(order) > 1 else lambda values: (values[order[0]],)
        self._table = table.name
        self._columns = [given[place] for place in order]
        types = [table.c[name].type.dialect_impl(dialect) for name in self._columns]
        self._converters = [type_.bind_processor(dialect) for type_ in types]

    def parameters(self, write: RowWrite) -> Sequence[Any]:
        """The values of `write` in the order and form of the statement."""
        values = self._pick((*write.key, *write.values.values()))
        try:
            return [
                value if convert is None else convert(value)
                for value, convert in zip(values, self._converters, strict=True)
            ]
        except Exception:
            self._blame(values)
            raise

    def _blame(self, values: Sequence[Any]) -> None:
        for column, value, convert in zip(self._columns, values, self._converters, strict=True):
            try:
                if convert is not None:
                    convert(value)
            except Exception as error:  # whatever a type's own code raises, the value is at fault
                raise UnstorableValue(self._table, column, f"{error}") from error


class WriteCompiler:
    """Turns writes into effects on the physical tables that `physical` names for the declared ones."""

    def __init__(self, dialect: Dialect, physical: Callable[[str], str]) -> None:
        self._dialect = dialect
        self._physical = physical
        self._shapes: dict[tuple[WriteKind, Table, tuple[str, ...]], _RowShape] = {}
        self._statements = Statements(dialect)

    def compile(self, writes: Iterable[Write]) -> list[WriteOne | WriteMany]:
        """The effects of `writes`, in their order; neighbours of one shape go together. Raises `Unwritable`."""
        effects: list[WriteOne | WriteMany] = []
        rows: list[Sequence[Any]] = []
        last: _RowShape | None = None
        for write in writes:
            if not isinstance(write, RowWrite):
                last = None
                effects.append(self._core(write))
                continue
            shape = self._shape(write)
            if shape is not last:
                rows = []
                effects.append(WriteMany(shape.sql, rows, shape.must_hit))
                last = shape
            rows.append(shape.parameters(write))
        return effects

    def _shape(self, write: RowWrite) -> _RowShape:
        known = (write.kind, write.table, tuple(write.values))
        shape = self._shapes.get(known)
        if shape is None:
            shape = self._shapes[known] = _RowShape(*known, self._dialect, self._on)
        return shape

    def _on(self, sql: str) -> str:
        return placed(sql, self._physical)

    def _core(self, statement: Any) -> WriteOne:
        prepared = self._statements.prepare(statement)
        return WriteOne(prepared.sql(self._physical), prepared.parameters)


def _insert_of(dialect: Dialect) -> Callable[[Table], Any]:
    # ON CONFLICT is not in SQLAlchemy's common language; importing another engine's would cost every start 20 ms
    insert: Callable[[Table], Any] = import_module(f"sqlalchemy.dialects.{dialect.name}").insert
    return insert


def _statement(kind: WriteKind, table: Table, names: tuple[str, ...], sql_insert: Callable[[Table], Any]) -> Any:
    binds: dict[str, Any] = {name: bindparam(f"v_{name}", type_=table.c[name].type) for name in names}
    keys: dict[str, Any] = {
        column.key: bindparam(f"v_{column.key}", type_=column.type) for column in table.primary_key.columns
    }
    here = [table.c[name] == bind for name, bind in keys.items()]
    match kind:
        case WriteKind.INSERT:
            return sql_insert(table).values(keys | binds)
        case WriteKind.UPSERT:
            row = sql_insert(table).values(keys | binds)
            if not names:
                return row.on_conflict_do_nothing()
            return row.on_conflict_do_update(
                index_elements=list(keys), set_={name: row.excluded[name] for name in names}
            )
        case WriteKind.CHANGE:
            return sql_update(table).where(*here).values(binds)
        case WriteKind.INCREMENT:
            return sql_update(table).where(*here).values({name: table.c[name] + bind for name, bind in binds.items()})
        case WriteKind.DELETE:
            return sql_delete(table).where(*here)
