"""Writes on read models as small values: a table, a kind and columns."""

__all__ = ["RowWrite", "UnknownColumn", "Write", "change", "delete", "increment", "insert", "upsert"]


class UnknownColumn(TypeError):
    """A write names a column that its table does not have."""

    def __init__(self, table: str, columns: tuple[str, ...], known: tuple[str, ...]) -> None:
        super().__init__(table, columns, known)
        self.table, self.columns, self.known = table, columns, known

    def __str__(self) -> str:
        return f"Table {self.table} has no column {', '.join(self.columns)}; it has {', '.join(self.known)}."
