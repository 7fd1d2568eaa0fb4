"""The versions of a SQLite store's tables: whoever has the file has it alone, and takes its tables along."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from colonnade.persistence.migrations.line import COLONNADE, Line, read_line
from colonnade.persistence.migrations.versions import LineVersion, check_code
from colonnade.persistence.sqlite.transactions import Transactions

if TYPE_CHECKING:
    from colonnade.persistence.migrations.plan import Progress

__all__ = ["BEGIN_LINE", "OWN_LINE", "SqliteVersions", "enter_line", "version_of"]

OWN_LINE = read_line(COLONNADE, Path(__file__).parent / "migrations")

BEGIN_LINE = "INSERT INTO versions VALUES (?, ?)"


class SqliteVersions:
    """Lets code in."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def enter(self, line: Line) -> None:
        """Begin to use the tables of `line`, and carry out its migrations first.

        Raises `CodeTooOld`, `InvalidMigration`, `StoreFailed`.
        """
        path = self._transactions.path
        await self._transactions.alone(lambda connection: enter_line(connection, path, line))

    async def renew(self) -> None:
        """Nobody else can have the file: whoever was let in stays."""


def enter_line(
    connection: apsw.Connection, path: Path, line: Line, report: "Callable[[Progress], None] | None" = None
) -> None:
    """Begin to use the tables of `line` of the file at `path`, and carry out its migrations first.

    `report` is told each step before it is done. Raises `CodeTooOld`, `InvalidMigration`, a driver's error.
    """
    version = version_of(connection, line)
    if version is None:
        connection.execute(BEGIN_LINE, (line.name, line.code))
        return
    if line.code > version:
        from colonnade.persistence.sqlite.migrating import migrate  # it imports Alembic, which takes its time

        migrate(connection, path, line, version, report)
        return
    check_code(str(path), line.name, line.code, LineVersion(version, version, version))


def version_of(connection: apsw.Connection, line: Line) -> int | None:
    """The version of the tables of `line`; None where no code has begun to use them."""
    version: int | None = connection.execute("SELECT version FROM versions WHERE line = ?", (line.name,)).get
    return version
