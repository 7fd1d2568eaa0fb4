"""What is to be done so that the tables of a store become those of the code, and whether that would be enough."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.engine.interfaces import Dialect

from colonnade.persistence.migrations.compiling import steps_of
from colonnade.persistence.migrations.line import COLONNADE, CONTRACT, EXPAND, InvalidMigration, Line, Migration, Part
from colonnade.persistence.migrations.steps import Added, Dropped, Loosened, Made, Step
from colonnade.persistence.migrations.versions import LineVersion

__all__ = ["Found", "FoundTable", "Plan", "PlannedPart", "Progress", "check_outcome", "physical_of", "plan_line"]

Done = Mapping[tuple[int, Part], Sequence[str]]
"""The statements that were carried out, by number and part, in their order."""


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """A part of a migration that is not done, and how many of its steps are."""

    line: str
    migration: Migration
    part: Part
    steps: Sequence[Step]
    done: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is to be done on one line of one store, in this order."""

    line: Line
    version: LineVersion
    parts: Sequence[PlannedPart]

    @property
    def oldest_code(self) -> int:
        """The oldest code that may use the tables once it is carried out."""
        contracted = (part.migration.number for part in self.parts if part.part == CONTRACT and part.steps)
        return max([self.version.oldest_code, *contracted])

    @property
    def steps_left(self) -> int:
        """How many steps are to be carried out."""
        return sum(len(part.steps) - part.done for part in self.parts)


@dataclass(frozen=True, slots=True)
class Progress:
    """A step begins, or has gone so far: `rows` rows were filled."""

    part: PlannedPart
    step: int
    rows: int = 0


@dataclass(slots=True)
class FoundTable:
    """A table of the service's own as it is in the database."""

    required: dict[str, bool] = field(default_factory=dict)
    """Its columns, and whether a new row must give a value."""
    types: dict[str, str] = field(default_factory=dict)
    """Those of columns that migrations add."""
    indexes: set[str] = field(default_factory=set)


Found = Mapping[str, FoundTable]


def physical_of(line: Line) -> Callable[[str], str]:
    """The physical table of each declared one: those of services have a number, as builds of projections have."""
    return (lambda table: table) if line.name == COLONNADE else (lambda table: f"{table}__0")


def plan_line(line: Line, version: LineVersion, done: Done, dialect: Dialect, *, contract: bool) -> Plan:
    """What is left to be expanded, and with `contract` to be contracted; raises `InvalidMigration`."""
    parts = [*_left(line, EXPAND, version.version, done, dialect)]
    if contract:
        parts += _left(line, CONTRACT, version.contracted, done, dialect)
    return Plan(line, version, parts)


def _left(line: Line, part: Part, above: int, done: Done, dialect: Dialect) -> Iterator[PlannedPart]:
    for migration in line.migrations:
        if migration.number <= above:
            continue
        steps = steps_of(migration, part, line, dialect, physical_of(line)).steps
        before = done.get((migration.number, part), ())
        for number, sql in enumerate(before, 1):
            if number > len(steps) or steps[number - 1].sql != sql:
                raise InvalidMigration(
                    f"{migration.path}, {part}()",
                    f"its step {number} was carried out already, as {sql!r}, and is another one now",
                    "write it as it was, and what is new into the next migration",
                )
        yield PlannedPart(line.name, migration, part, steps, len(before))


def check_outcome(plan: Plan, found: Found, dialect: Dialect) -> None:
    """Raise `InvalidMigration` where the declared tables will lack something, or other code could add no rows.

    `found` are the tables as they are now; they are taken to where the plan leads.
    """
    tables = {name: FoundTable(dict(table.required), {}, set(table.indexes)) for name, table in found.items()}
    for part in plan.parts:
        changes = steps_of(part.migration, part.part, plan.line, dialect, physical_of(plan.line)).changes
        for change in changes:
            _take(tables, change)
    for table in plan.line.tables:
        made = tables.get(table.name)
        if made is None:
            continue  # made by whoever starts
        place = f"the table {table.name} of version {plan.line.code}"
        for column in table.columns:
            if column.name not in made.required:
                remedy = f'write op.add_column("{table.name}", ...) into expand() of the next migration'
                raise InvalidMigration(place, f"no migration adds its column {column.name}", remedy)
            type = column.type.compile(dialect)
            if made.types.get(column.name, type) != type:
                reason = f"its column {column.name} is declared as {type}, and added as {made.types[column.name]}"
                raise InvalidMigration(place, reason, "declare it as it is added")
        for index in table.indexes:
            if not index.unique and str(index.name) not in made.indexes:
                remedy = f'write op.create_index("{index.name}", "{table.name}", ...) into expand()'
                raise InvalidMigration(place, f"no migration makes its index {index.name}", remedy)
        for column_name, required in made.required.items():
            if required and column_name not in table.columns:
                raise InvalidMigration(
                    place,
                    f"it does not declare the column {column_name}, without which the database takes no new row",
                    f'write op.alter_column("{table.name}", "{column_name}", nullable=True) into expand()',
                )


def _take(tables: dict[str, FoundTable], change: object) -> None:
    match change:
        case Made(table, columns, None):
            tables[table] = FoundTable(dict.fromkeys(columns, False))
        case Made(table, _, index) if index is not None:
            tables.setdefault(table, FoundTable()).indexes.add(index)
        case Added(table, column, type):
            at = tables.setdefault(table, FoundTable())
            at.required[column] = False
            at.types[column] = type
        case Dropped(table, None):
            tables.pop(table, None)
        case Dropped(table, column) | Loosened(table, column) if column is not None:
            at = tables.setdefault(table, FoundTable())
            if isinstance(change, Dropped):
                at.required.pop(column, None)
            else:
                at.required[column] = False
        case _:
            pass
