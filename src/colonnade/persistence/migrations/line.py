"""The migrations of one line of tables: a service's own, or Colonnade's; numbered files in a folder."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from sqlalchemy import Table

__all__ = ["COLONNADE", "SERVICE", "InvalidMigration", "Line", "Migration", "Part", "read_line"]

COLONNADE = "colonnade"
"""The line of the store's own tables."""

SERVICE = "service"
"""The line of the tables that a service has besides its projections'."""

EXPAND, CONTRACT = "expand", "contract"
Part = str
"""`expand`, before code of that number starts, or `contract`, after the last code below it has ended."""

_FILE = re.compile(r"(\d{4})_(\w+)\.py")


class InvalidMigration(Exception):
    """A migration's file cannot be read, or does what none may do."""

    def __init__(self, place: str, reason: str, remedy: str) -> None:
        super().__init__(place, reason, remedy)
        self.place, self.reason, self.remedy = place, reason, remedy

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}; {self.remedy}."


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file, with the functions `expand` and `contract`, or one of them."""

    number: int
    path: Path

    @property
    def name(self) -> str:
        """Its file's, without the ending."""
        return self.path.stem

    def load(self) -> dict[Part, Callable[[], object]]:
        """Its functions by part; raises `InvalidMigration`."""
        spec = spec_from_file_location(f"colonnade_migration_{self.name}", self.path)
        assert spec is not None
        assert spec.loader is not None
        module: Any = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever the file raises
            reason = f"it cannot be imported, {type(error).__name__}: {error}"
            raise InvalidMigration(str(self.path), reason, "mend the file") from error
        parts = {part: getattr(module, part) for part in (EXPAND, CONTRACT) if callable(getattr(module, part, None))}
        if not parts:
            raise InvalidMigration(
                str(self.path), "it defines neither expand() nor contract()", "write one of them, or both"
            )
        return parts


@dataclass(frozen=True, slots=True)
class Line:
    """The migrations of tables that change together, and the tables as the code of the last number declares them."""

    name: str
    migrations: tuple[Migration, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def code(self) -> int:
        """The version of the code that brings them: its highest number, 0 before the first migration."""
        return len(self.migrations)


def read_line(name: str, folder: Path | None, tables: Sequence[Table] = ()) -> Line:
    """The migrations in `folder`, without looking into the files; raises `InvalidMigration`."""
    if folder is None:
        return Line(name, (), tuple(tables))
    if not folder.is_dir():
        raise InvalidMigration(str(folder), "there is no such folder", "make it, or name the right one")
    migrations: list[Migration] = []
    for path in sorted(folder.glob("*.py")):
        if path.name == "__init__.py":
            continue
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise InvalidMigration(str(path), "its name has no number", "call it like 0001_add_seats.py")
        number = int(match[1])
        if number != len(migrations) + 1:
            remedy = f"number the files from 0001 on, without gaps; {len(migrations) + 1:04} is the next"
            raise InvalidMigration(str(path), f"its number {number:04} is not the next", remedy)
        migrations.append(Migration(number, path))
    return Line(name, tuple(migrations), tuple(tables))
