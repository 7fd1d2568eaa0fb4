"""How the file of a store is made, told from other files, and connected to."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from colonnade.persistence.migrations.versions import LineVersion, check_code
from colonnade.persistence.partitions import PARTITIONS
from colonnade.persistence.sqlite.decimals import add_decimals
from colonnade.persistence.sqlite.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION
from colonnade.persistence.sqlite.versions import BEGIN_LINE, OWN_LINE, enter_line, version_of
from colonnade.persistence.syncing import sync
from colonnade.world import World

__all__ = [
    "NewerStore",
    "NotAStore",
    "connect_beside",
    "connect_to_migrate",
    "connect_to_read",
    "connect_to_write",
    "make_store",
    "meta_of",
    "prepare_for_statements",
]

_BUSY_MILLISECONDS = 1_000
_CHECKPOINT_PAGES = 2_000
_STATEMENTS_CACHED = 200


class NotAStore(Exception):
    """The file is something else, damaged, or can not be opened."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} cannot be used as a store: {self.reason}; name another data directory, or restore it."


class NewerStore(Exception):
    """The file was written by a newer Colonnade."""

    def __init__(self, path: Path, version: int, known: int) -> None:
        super().__init__(path, version, known)
        self.path, self.version, self.known = path, version, known

    def __str__(self) -> str:
        return f"{self.path} has schema version {self.version}, this code knows {self.known}; use the newer Colonnade."


def make_store(path: Path, world: World) -> None:
    """Make the file of a new store, whole or not at all."""
    if _beside(path, "-wal").exists():
        # SQLite would take the log of a database that is gone for that of the new one
        raise NotAStore(path, f"it is missing, but its write-ahead log {path.name}-wal is there")
    growing = _beside(path, ".new")
    for leftover in (growing, _beside(growing, "-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(growing, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = _connect(growing, apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN")
        connection.execute(SCHEMA)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)", [("history", world.ids.new().bytes), ("partitions", PARTITIONS)]
        )
        connection.execute(BEGIN_LINE, (OWN_LINE.name, OWN_LINE.code))
        connection.execute("COMMIT")
    finally:
        connection.close()
    growing.replace(path)
    sync(path.parent)


def connect_to_read(path: Path) -> apsw.Connection:
    """A connection that cannot write; raises `NotAStore`, `NewerStore`, `CodeTooOld` or `CodeTooNew`."""
    return _checked(path, apsw.SQLITE_OPEN_READONLY, lambda connection: _check_line(connection, path))


def connect_beside(path: Path) -> apsw.Connection:
    """A connection that only reads a store that another process writes, or none.

    Where the file's rights allow it, the last to leave brings the write-ahead log home: one that was opened to be read
    could not, and would leave the log lying about.
    """
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return connect_to_read(path)

    def prepare(connection: apsw.Connection) -> None:
        connection.execute("PRAGMA query_only = ON")
        _check_line(connection, path)

    return _checked(path, apsw.SQLITE_OPEN_READWRITE, prepare)


def connect_to_write(path: Path) -> apsw.Connection:
    """The one connection that writes; every commit is on the disk when it returns.

    Colonnade's own tables are migrated first.
    """

    def prepare(connection: apsw.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.wal_autocheckpoint(_CHECKPOINT_PAGES)
        enter_line(connection, path, OWN_LINE)

    return _checked(path, apsw.SQLITE_OPEN_READWRITE, prepare)


def connect_to_migrate(path: Path, *, read_only: bool) -> apsw.Connection:
    """A connection to a store whose tables may be of another version; one that writes makes commits durable."""

    def prepare(connection: apsw.Connection) -> None:
        connection.execute("PRAGMA query_only = ON" if read_only else "PRAGMA synchronous = FULL")

    return _checked(path, apsw.SQLITE_OPEN_READWRITE, prepare)


def _check_line(connection: apsw.Connection, path: Path) -> None:
    version = version_of(connection, OWN_LINE) or 0
    check_code(str(path), OWN_LINE.name, OWN_LINE.code, LineVersion(version, version, version))


def meta_of(connection: apsw.Connection) -> dict[str, Any]:
    """What was fixed when the store was made."""
    return dict(connection.execute("SELECT key, value FROM meta"))


def _checked(path: Path, flags: int, prepare: Callable[[apsw.Connection], object]) -> apsw.Connection:
    try:
        # Tells why a file can not be opened, which SQLite does not
        os.close(os.open(path, os.O_RDWR if flags & apsw.SQLITE_OPEN_READWRITE else os.O_RDONLY))
        connection = _connect(path, flags)
    except OSError as error:
        raise NotAStore(path, error.strerror or str(error)) from error
    except apsw.Error as error:
        raise NotAStore(path, str(error)) from error
    try:
        if connection.execute("PRAGMA application_id").get != APPLICATION_ID:
            raise NotAStore(path, "it was not made by Colonnade")
        version = connection.execute("PRAGMA user_version").get
        if version > SCHEMA_VERSION:
            raise NewerStore(path, version, SCHEMA_VERSION)
        if version < SCHEMA_VERSION:
            raise NotAStore(path, f"its schema version {version} is too old, {SCHEMA_VERSION} is needed")
        prepare(connection)
    except apsw.Error as error:
        connection.close()
        raise NotAStore(path, str(error)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, flags: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags, statementcachesize=_STATEMENTS_CACHED)
    connection.set_busy_timeout(_BUSY_MILLISECONDS)
    # Else SQLite compiles a statement anew whenever a value is bound that its planner has looked at
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    prepare_for_statements(connection)
    return connection


def prepare_for_statements(connection: apsw.Connection) -> None:
    """What the statements of the dialect rely on."""
    # As in the standard, and on PostgreSQL
    connection.execute("PRAGMA case_sensitive_like = ON")
    add_decimals(connection)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
