"""Folding: of many writes on one row only their sum is written (guarantee 7)."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Table

from colonnade.application.writes import RowWrite, WriteKind

__all__ = ["fold"]

_INTO_WHOLE = (WriteKind.INSERT, WriteKind.UPSERT)


def fold(writes: Iterable[RowWrite]) -> Sequence[RowWrite]:
    """As few writes as leave the same rows behind; rows keep the order in which they were first written.

    A change is merged into the insert, upsert or change before it on the same row. Relative changes are not folded:
    they end what can be merged into, and so does a deletion.
    """
    folded: list[RowWrite] = []
    last: dict[tuple[Table, tuple[Any, ...]], int] = {}
    for write in writes:
        row = (write.table, write.key)
        index = last.get(row)
        if index is not None:
            before = folded[index]
            merged = _merged(before, write)
            if merged is not None:
                folded[index] = merged
                continue
        last[row] = len(folded)
        folded.append(write)
    return folded


def _merged(before: RowWrite, write: RowWrite) -> RowWrite | None:
    if write.kind is WriteKind.CHANGE and before.kind in (*_INTO_WHOLE, WriteKind.CHANGE):
        return RowWrite(before.kind, before.table, before.key, {**before.values, **write.values})
    if write.kind is WriteKind.UPSERT and before.kind in _INTO_WHOLE:
        return RowWrite(before.kind, before.table, before.key, {**before.values, **write.values})
    return None
