"""One filling of a projection's tables, and what it leaves out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from colonnade.persistence.tables.compiling import Unwritable

__all__ = ["Build", "FilledBy", "HeldStream", "NotItsTable", "told_of_held"]


class NotItsTable(Unwritable):
    """A projection names a table that it does not own."""

    def __init__(self, projection: str, table: str) -> None:
        super().__init__(projection, table)
        self.projection, self.table = projection, table

    def __str__(self) -> str:
        return f"{self.projection} does not own the table {self.table}; name it in its `tables`, or leave it alone."


class FilledBy(msgspec.Struct, frozen=True):
    """What fills a build: a projection of that version, with the events of those stored names, sorted."""

    version: int
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Build:
    """One filling of a projection's tables.

    `number` is its own in the store. `shape` tells what its tables look like, `filling` by what they are filled.
    `tables` gives the primary key of each declared table.
    """

    number: int
    projection: str
    shape: str
    filling: FilledBy
    tables: Mapping[str, tuple[str, ...]]

    @property
    def checkpoint(self) -> str:
        """The name of its checkpoint."""
        return f"{self.projection}/{self.number}"

    def physical(self, table: str) -> str:
        """The table that stands for a declared one; raises `NotItsTable`."""
        if table not in self.tables:
            raise NotItsTable(self.projection, table)
        return f"{table}__{self.number}"


@dataclass(frozen=True, slots=True)
class HeldStream:
    """A stream whose events a build leaves out, from the one on that it could not take."""

    stream: str
    version: int
    position: int
    cause: str


def told_of_held(streams: Collection[HeldStream]) -> str | None:
    """A sentence on the streams that a build leaves out, and the remedy; None where there are none."""
    if not streams:
        return None
    first = min(streams, key=lambda held: held.position)
    many = f"{len(streams)} streams are held, the first is" if len(streams) > 1 else "One stream is held:"
    return f"{many} {first.stream}, at event {first.position}: {first.cause}. Mend the projection's code and restart."
