"""Writes of command handlers on their service's own tables, in the unit of work at hand."""

from colonnade.application.writes import Write
from colonnade.persistence.tables.compiling import WriteCompiler
from colonnade.persistence.tables.models import ReadModels
from colonnade.persistence.work import work_at_hand

__all__ = ["NotOwnTable", "UnitTables"]


class NotOwnTable(TypeError):
    """A command handler would write a table that a projection fills."""

    def __init__(self, table: str, projection: str) -> None:
        super().__init__(table, projection)
        self.table, self.projection = table, projection

    def __str__(self) -> str:
        return f"Table {self.table} is filled by {self.projection} alone; record an event that says what to write."


class UnitTables:
    """Collects writes into the unit of work of the command that is being handled."""

    def __init__(self, models: ReadModels) -> None:
        self._models = models
        self._compiler = WriteCompiler(models.store.dialect, self._own)

    def write(self, *writes: Write) -> None:
        """Let `writes` happen when this unit of work is committed, in their order.

        Raises `UnknownTable`, `NotOwnTable` or `UnstorableValue`. A row that is not there for a change, or breaks a
        constraint, fails the command with `WriteFailed`. Writes of one kind in a row cost least.
        """
        work = work_at_hand()
        work.effects.extend(self._compiler.compile(writes))
        work.changed.update([write.table.description for write in writes])

    def _own(self, table: str) -> str:
        projected = self._models.reader(table)
        if projected is not None:
            raise NotOwnTable(table, projected.projection)
        return self._models.physical(table)
