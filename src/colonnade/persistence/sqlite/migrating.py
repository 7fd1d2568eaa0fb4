"""Carrying out migrations on a SQLite store: all at once in one transaction, while nobody else has the file."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import apsw

from colonnade.persistence.migrations.line import CONTRACT, EXPAND, Line
from colonnade.persistence.migrations.plan import FoundTable, Plan, Progress, check_outcome, physical_of, plan_line
from colonnade.persistence.migrations.steps import Rebuild
from colonnade.persistence.migrations.versions import LineVersion
from colonnade.persistence.sqlite.dialect import sqlite_dialect
from colonnade.persistence.sqlite.opening import connect_to_migrate
from colonnade.persistence.sqlite.transactions import DRIVER_ERRORS, failed
from colonnade.persistence.sqlite.versions import enter_line, version_of
from colonnade.persistence.syncing import sync
from colonnade.persistence.tables.declared import definitions, shape_of
from colonnade.persistence.tables.marking import placed

__all__ = ["copy_before", "migrate", "migrate_store", "plan_store"]

_COPY = "__copy"


def plan_store(path: Path, lines: Sequence[Line]) -> Sequence[Plan]:
    """What is to be done on each of `lines` of the store at `path`; raises `InvalidMigration`, `NotAStore`."""
    with closing(connect_to_migrate(path, read_only=True)) as connection:
        versions = [(line, version_of(connection, line)) for line in lines]
        return [
            _plan(connection, line, version)
            for line, version in versions
            if version is not None and version < line.code
        ]


def migrate_store(path: Path, lines: Sequence[Line], report: Callable[[Progress], None]) -> None:
    """Carry out what is to be done; `report` is told before each step.

    Raises `InvalidMigration`, `CodeTooOld`, `NotAStore`, `StoreFailed`.
    """
    with closing(connect_to_migrate(path, read_only=False)) as connection:
        for line in lines:
            if version_of(connection, line) is not None:
                try:
                    enter_line(connection, path, line, report)
                except DRIVER_ERRORS as error:
                    raise failed(path, error) from error


def _plan(connection: apsw.Connection, line: Line, version: int) -> Plan:
    """What is to be done; raises `InvalidMigration`."""
    dialect = sqlite_dialect()
    plan = plan_line(line, LineVersion(version, version, version), {}, dialect, contract=True)
    check_outcome(plan, _found(connection, line), dialect)
    return plan


def migrate(
    connection: apsw.Connection, path: Path, line: Line, version: int, report: Callable[[Progress], None] | None = None
) -> None:
    """Take the tables of `line` from `version` to that of the code, or leave all as it was.

    A copy of the file as it was is kept beside it, for there is no other way back. Raises `InvalidMigration`, or a
    driver's error.
    """
    plan = _plan(connection, line, version)
    _keep_copy(connection, path, copy_before(path, line))
    run = connection.execute
    run("BEGIN IMMEDIATE")
    try:
        for part in (EXPAND, CONTRACT):
            for planned in (each for each in plan.parts if each.part == part):
                for number, step in enumerate(planned.steps, 1):
                    if report is not None:
                        report(Progress(planned, number))
                    if not isinstance(step, Rebuild):
                        run(step.sql)
                    at = (line.name, planned.migration.number, part, number, step.sql)
                    run("INSERT INTO migrations VALUES (?, ?, ?, ?, ?)", at)
        # Into the form of the newest code, so not before everything else
        rebuilt = {step.table for planned in plan.parts for step in planned.steps if isinstance(step, Rebuild)}
        found = _found(connection, line)
        for table in line.tables:
            if table.name not in found:
                continue
            if table.name in rebuilt:
                _rebuild(connection, line, table.name, found[table.name])
            run("INSERT OR REPLACE INTO own_tables VALUES (?, ?, ?)", (table.name, line.code, shape_of([table])))
        run("UPDATE versions SET version = ? WHERE line = ?", (line.code, line.name))
        run("COMMIT")
    except BaseException:
        if connection.in_transaction:
            run("ROLLBACK")
        raise


def copy_before(path: Path, line: Line) -> Path:
    """Where the copy of a file is that was made before `line` was migrated."""
    return path.with_name(f"{path.name}.before-{line.name}-{line.code}")


def _keep_copy(connection: apsw.Connection, path: Path, copy: Path) -> None:
    for older in path.parent.glob(f"{path.name}.before-*"):
        older.unlink()
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection.execute("VACUUM INTO ?", (str(copy),))
    sync(copy)
    sync(path.parent)


def _rebuild(connection: apsw.Connection, line: Line, name: str, found: FoundTable) -> None:
    table = next(each for each in line.tables if each.name == name)
    physical = physical_of(line)
    make, *indexes = definitions(table, sqlite_dialect())
    columns = ", ".join(f'"{column.name}"' for column in table.columns if column.name in found.required)
    old, new = physical(name), f"{physical(name)}{_COPY}"
    run = connection.execute
    run(placed(make, lambda _: new))
    run(f'INSERT INTO "{new}" ({columns}) SELECT {columns} FROM "{old}"')
    run(f'DROP TABLE "{old}"')
    run(f'ALTER TABLE "{new}" RENAME TO "{old}"')
    for index in indexes:
        run(placed(index, physical))


def _found(connection: apsw.Connection, line: Line) -> dict[str, FoundTable]:
    physical = physical_of(line)
    found: dict[str, FoundTable] = {}
    for table in line.tables:
        relation = physical(table.name)
        columns = connection.execute('SELECT name, "notnull", dflt_value FROM pragma_table_info(?)', (relation,))
        required = {str(name): bool(forbids_null) and default is None for name, forbids_null, default in columns}
        if required:
            indexes = connection.execute("SELECT name FROM pragma_index_list(?)", (relation,))
            names = {str(index).removeprefix(f"{relation}_") for (index,) in indexes}
            found[table.name] = FoundTable(required, {}, names)
    return found
