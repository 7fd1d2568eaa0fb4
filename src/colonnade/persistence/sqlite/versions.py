"""The versions of a SQLite store's tables: whoever has the file has it alone, and takes its tables along."""

from pathlib import Path

from colonnade.persistence.migrations.line import COLONNADE, Line, read_line
from colonnade.persistence.migrations.versions import LineVersion, check_code
from colonnade.persistence.sqlite.transactions import Transactions

__all__ = ["BEGIN_LINE", "OWN_LINE", "SqliteVersions"]

OWN_LINE = read_line(COLONNADE, Path(__file__).parent / "migrations")

BEGIN_LINE = "INSERT INTO versions VALUES (?, ?) ON CONFLICT DO NOTHING"


class SqliteVersions:
    """Lets code in."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def enter(self, line: Line) -> None:
        """Begin to use the tables of `line`; raises `CodeTooOld`, `CodeTooNew`, `StoreFailed`."""
        await self._transactions.run(lambda: self._enter(line))

    async def renew(self) -> None:
        """Nobody else can have the file: whoever was let in stays."""

    def _enter(self, line: Line) -> None:
        run = self._transactions.connection.execute
        run(BEGIN_LINE, (line.name, line.code))
        version = run("SELECT version FROM versions WHERE line = ?", (line.name,)).get
        check_code(str(self._transactions.path), line.name, line.code, LineVersion(version, version, version))
