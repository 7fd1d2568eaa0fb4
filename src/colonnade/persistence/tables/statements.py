"""SQLAlchemy's statements as SQL and parameters for the driver, compiled once a shape."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Executable
from sqlalchemy.engine import IteratorResult, Row
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.engine.result import SimpleResultMetaData

from colonnade.persistence.tables.marking import marked, placed

__all__ = ["Prepared", "Statements"]

SHAPES_KEPT = 500
"""Beyond this many a service builds its statements out of data, and keeping them all would be a leak."""

Convert = Callable[[Any], Any]
Place = Callable[[str], str]


class _Shape:
    """What is known of all statements that differ in their values alone."""

    def __init__(self, compiled: Any, dialect: Dialect) -> None:
        self.compiled = compiled
        self._dialect = dialect
        self.tables = marked(compiled.string)
        self._order: Sequence[str] = compiled.positiontup or ()
        self._binders: dict[str, Convert] = compiled._bind_processors
        self._placed: dict[tuple[str, ...], str] = {}
        self._lists: Sequence[str] = ()
        self._spelled_out: dict[tuple[int, ...], tuple[str, Sequence[tuple[str, int | None, Convert | None]]]] = {}
        listed = compiled.post_compile_params - compiled.literal_execute_params
        if listed and not any(parameter.type._is_tuple_type for parameter in listed):
            self._lists = [compiled.bind_names[parameter] for parameter in listed]
        columns = compiled._result_columns
        self._metadata = SimpleResultMetaData([column.keyname for column in columns])
        converters = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._converters: Sequence[Convert | None] = converters if any(converters) else ()

    def sql_and_parameters(self, given: dict[str, Any]) -> tuple[str, list[Any]]:
        """The SQL and its values; lists of values, as for IN, are spelled out."""
        compiled = self.compiled
        if not compiled.post_compile_params and not compiled.literal_execute_params:
            return compiled.string, _bound(self._order, given, self._binders)
        if self._lists and not compiled.literal_execute_params:
            return self._with_lists(given)
        expanded = compiled._process_parameters_for_postcompile(given)
        binders = {**self._binders, **expanded.processors}
        return expanded.statement, _bound(expanded.positiontup or (), expanded.parameters, binders)

    def _with_lists(self, given: dict[str, Any]) -> tuple[str, list[Any]]:
        # The last value again changes no IN; lists of a few lengths only make a few statements, that stay compiled
        for name in self._lists:
            values = given[name] = list(given[name])
            if values:
                values.extend(values[-1:] * ((1 << (len(values) - 1).bit_length()) - len(values)))
        lengths = tuple([len(given[name]) for name in self._lists])
        known = self._spelled_out.get(lengths)
        if known is None:
            expanded = self.compiled._process_parameters_for_postcompile(dict(given))
            origin = {
                each: (name, place)
                for name, names in expanded.parameter_expansion.items()
                for place, each in enumerate(names)
            }
            order = [origin.get(name, (name, None)) for name in expanded.positiontup or ()]
            values_in_order = [(name, place, self._binders.get(name)) for name, place in order]
            known = self._spelled_out[lengths] = (expanded.statement, values_in_order)
        sql, parameters = known
        bound = []
        for name, place, convert in parameters:
            value = given[name] if place is None else given[name][place]
            bound.append(value if convert is None else convert(value))
        return sql, bound

    def placed(self, sql: str, physical: Place) -> str:
        """`sql` on the physical tables."""
        where = (sql, *(physical(table) for table in self.tables))
        on_tables = self._placed.get(where)
        if on_tables is None:
            if len(self._placed) >= SHAPES_KEPT:
                self._placed.clear()
            on_tables = self._placed[where] = placed(sql, physical)
        return on_tables

    def rows(self, raw: Sequence[tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
        """The driver's rows in the types of their columns."""
        converters = self._converters
        if converters:
            raw = [
                tuple(
                    [
                        value if convert is None else convert(value)
                        for value, convert in zip(row, converters, strict=True)
                    ]
                )
                for row in raw
            ]
        return IteratorResult(self._metadata, iter(cast(Any, raw))).all()


def _bound(order: Sequence[str], given: Any, binders: dict[str, Any]) -> list[Any]:
    return [binders[name](given[name]) if name in binders else given[name] for name in order]


class Prepared:
    """One statement with its values."""

    __slots__ = ("_shape", "_sql", "parameters")

    def __init__(self, shape: _Shape, sql: str, parameters: list[Any]) -> None:
        self._shape = shape
        self._sql = sql
        self.parameters = parameters

    @property
    def tables(self) -> tuple[str, ...]:
        """The declared tables that it names."""
        return self._shape.tables

    def sql(self, physical: Place) -> str:
        """Its SQL, given the physical table of each declared one."""
        return self._shape.placed(self._sql, physical)

    def rows(self, raw: Sequence[tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
        """What the driver answered, in the types of the columns."""
        return self._shape.rows(raw)


class Statements:
    """Compiles statements for one dialect and remembers their shapes.

    It stands where SQLAlchemy's own engine would: that costs ten times as much a statement, which a driver of our own
    does not need. The cache is SQLAlchemy's, by its key of a statement (`_compile_w_cache`).
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._compiled: dict[Any, Any] = {}
        self._shapes: dict[Any, _Shape] = {}
        self._written_once: WeakKeyDictionary[Executable, tuple[_Shape, Any, Any]] = WeakKeyDictionary()

    def prepare(self, statement: Executable, values: Mapping[str, Any] | None = None) -> Prepared:
        """`statement`, compiled and bound; raises `sqlalchemy.exc.CompileError` or what a value's type raises.

        A statement that is written once, with a `bindparam` for each of `values`, is looked up by itself: that spares
        making it, and its key, anew.
        """
        if not values:
            shape, extracted, own = self._shape(statement)
        else:
            known = self._written_once.get(statement)
            if known is None:
                known = self._written_once[statement] = self._shape(statement)
            shape, extracted, own = known
        given = shape.compiled.construct_params(
            values, extracted_parameters=extracted, escape_names=False, _collected_params=own, _no_postcompile=True
        )
        return Prepared(shape, *shape.sql_and_parameters(given))

    def _shape(self, statement: Executable) -> tuple[_Shape, Any, Any]:
        if len(self._shapes) >= SHAPES_KEPT:
            self._compiled.clear()
            self._shapes.clear()
        compiled, extracted, own, _ = cast(Any, statement)._compile_w_cache(
            self._dialect, compiled_cache=self._compiled, column_keys=[]
        )
        shape = self._shapes.get(compiled)
        if shape is None:
            shape = self._shapes[compiled] = _Shape(compiled, self._dialect)
        return shape, extracted, own
