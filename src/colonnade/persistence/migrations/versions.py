"""Which code may use the tables of a store: the version that they have, and the oldest code that knows them."""

from collections.abc import Sequence
from typing import NamedTuple

from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.migrations.line import COLONNADE

__all__ = ["CodeTooNew", "CodeTooOld", "Instance", "LineVersion", "OlderInstances", "check_code"]


class LineVersion(NamedTuple):
    """How far the tables of a line are.

    All migrations up to `version` are expanded, those up to `contracted` are contracted too, and code below
    `oldest_code` may not use them.
    """

    version: int
    oldest_code: int
    contracted: int


class Instance(NamedTuple):
    """One process that uses a store."""

    place: str
    code: int


class CodeTooOld(StoreFailed):
    """The tables have been contracted beyond what this code knows."""

    def __init__(self, store: str, line: str, code: int, oldest: int) -> None:
        super().__init__(store, f"{_tables(line)} need code of version {oldest} or newer, and this has {code}")
        self.line, self.code, self.oldest = line, code, oldest

    def __str__(self) -> str:
        return f"The store {self.store} refuses this code: {self.reason}; start the newer code."


class CodeTooNew(StoreFailed):
    """The tables have not been migrated to what this code needs."""

    def __init__(self, store: str, line: str, code: int, version: int) -> None:
        super().__init__(store, f"{_tables(line)} have version {version}, and this code needs {code}")
        self.line, self.code, self.version = line, code, version

    def __str__(self) -> str:
        return f"The store {self.store} refuses this code: {self.reason}; run colonnade migrate."


class OlderInstances(StoreFailed):
    """Instances are at work that could not go on after contracting."""

    def __init__(self, store: str, line: str, to: int, instances: Sequence[Instance]) -> None:
        told = ", ".join(f"{each.place} with version {each.code}" for each in instances)
        super().__init__(store, f"{_tables(line)} cannot be contracted to version {to} while older code runs: {told}")
        self.line, self.to, self.instances = line, to, instances

    def __str__(self) -> str:
        return f"The store {self.store}: {self.reason}. Replace these, and contract then; nothing was changed."


def check_code(store: str, line: str, code: int, version: LineVersion) -> None:
    """Raise `CodeTooOld` or `CodeTooNew` for code that may not use tables of that version."""
    if code < version.oldest_code:
        raise CodeTooOld(store, line, code, version.oldest_code)
    if code > version.version:
        raise CodeTooNew(store, line, code, version.version)


def _tables(line: str) -> str:
    return "Colonnade's own tables" if line == COLONNADE else "the service's own tables"
