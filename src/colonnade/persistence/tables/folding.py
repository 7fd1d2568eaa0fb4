"""Folding: of many writes on one row only what they come to is written (guarantee 7)."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Table

from colonnade.application.writes import RowWrite, Write, WriteKind
from colonnade.persistence.tables.declared import has_row_rules

__all__ = ["fold"]

_INSERT, _UPSERT, _CHANGE, _DELETE = WriteKind.INSERT, WriteKind.UPSERT, WriteKind.CHANGE, WriteKind.DELETE

_MERGED = {
    (_INSERT, _CHANGE): _INSERT,
    (_INSERT, _UPSERT): _INSERT,
    (_UPSERT, _CHANGE): _UPSERT,
    (_UPSERT, _UPSERT): _UPSERT,
    (_CHANGE, _CHANGE): _CHANGE,
    (_CHANGE, _UPSERT): _CHANGE,
}
"""What a write and the next one on the same row are together."""

_OVERWRITTEN = ((_UPSERT, _DELETE), (_DELETE, _DELETE))
"""Where the next write leaves nothing of the one before, nor of the errors that it could have met."""


def fold(writes: Iterable[Write]) -> list[Write]:
    """As few writes as leave the same rows behind, those of one shape together.

    Writes on one row keep their order, and relative ones are never merged. Tables with rules over several rows are
    left as they are; a Core statement parts what was written before it from what comes after.
    """
    folded: list[Write] = []
    tables: dict[Table, _Folded | _Kept] = {}
    for write in writes:
        if not isinstance(write, RowWrite):
            for table in tables.values():
                table.into(folded)
            tables.clear()
            folded.append(write)
            continue
        rows = tables.get(write.table)
        if rows is None:
            rows = tables[write.table] = _Kept() if has_row_rules(write.table) else _Folded()
        rows.add(write)
    for table in tables.values():
        table.into(folded)
    return folded


class _Kept:
    """Writes in the order in which they came."""

    __slots__ = ("_writes",)

    def __init__(self) -> None:
        self._writes: list[RowWrite] = []

    def add(self, write: RowWrite) -> None:
        self._writes.append(write)

    def into(self, folded: list[Write]) -> None:
        folded.extend(self._writes)


class _Folded:
    """What is left to write on each row, in order."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[tuple[Any, ...], list[RowWrite]] = {}

    def add(self, write: RowWrite) -> None:
        chain = self._rows.get(write.key)
        if chain is None:
            self._rows[write.key] = [write]
            return
        before = chain[-1]
        pair = (before.kind, write.kind)
        kind = _MERGED.get(pair)
        if kind is not None:
            chain[-1] = RowWrite(kind, write.table, write.key, {**before.values, **write.values})
        elif pair in _OVERWRITTEN:
            chain[-1] = write
        else:
            chain.append(write)

    def into(self, folded: list[Write]) -> None:
        # Row by row nothing could be written together: first the first write of each row, then the second of each
        chains = list(self._rows.values())
        turn = 0
        while chains:
            shapes: dict[tuple[WriteKind, tuple[str, ...]], list[RowWrite]] = {}
            for chain in chains:
                write = chain[turn]
                shapes.setdefault((write.kind, tuple(write.values)), []).append(write)
            for alike in shapes.values():
                folded.extend(alike)
            turn += 1
            chains = [chain for chain in chains if len(chain) > turn]
