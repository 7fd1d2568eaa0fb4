"""The log of a SQLite store."""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from colonnade.persistence.sqlite.rows import Pages, marks
from colonnade.persistence.store import Loaded, StoredEvent, StoredMessage
from colonnade.persistence.unit import Snapshot
from colonnade.world import uuid_of

__all__ = ["SqliteLog"]

_EVENT = "position, stream, version, id, name, schema, data, time, correlation, causation, principal"

# From one stream to the next through the index, however many events each has
_STREAMS = """
    WITH RECURSIVE found (stream) AS (
        SELECT min(stream) FROM events WHERE stream > ?1
        UNION ALL
        SELECT (SELECT min(stream) FROM events WHERE stream > found.stream) FROM found WHERE stream < ?3
    )
    SELECT stream FROM found WHERE stream < ?3 LIMIT ?2
"""


def _event(row: tuple[Any, ...]) -> StoredEvent:
    position, stream, version, id, name, schema, data, time, correlation, causation, principal = row
    return StoredEvent(
        position, stream, version, uuid_of(id), name, schema, data, time, uuid_of(correlation),
        uuid_of(causation) if causation is not None else None, principal,
    )  # fmt: skip


@cache
def _named(names: int) -> str:
    """A page of events of so many names: merged from the index, so that it is short though they be rare."""
    by_name = "SELECT position FROM events WHERE name = ? AND position > ?"
    merged = " UNION ALL ".join([by_name] * names)
    columns = ", ".join(f"events.{column}" for column in _EVENT.split(", "))
    return (
        f"SELECT {columns} FROM ({merged} ORDER BY position LIMIT ?) AS page CROSS JOIN events USING (position) "
        "ORDER BY page.position"
    )


class SqliteLog:
    """The log. One writer commits in the order of positions, so there is no horizon to wait for."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def load(self, streams: Sequence[str], *, snapshots: bool) -> Sequence[Loaded]:
        """What the aggregates of `streams` are rebuilt from, in their order."""
        kept: dict[str, Snapshot] = {}
        if snapshots:
            for stream, version, schema, data in self._pages.all(
                f"SELECT stream, version, schema, data FROM snapshots WHERE stream IN ({marks(streams)})", streams
            ):
                kept[stream] = Snapshot(stream, version, schema, data)
        events: dict[str, list[StoredMessage]] = {stream: [] for stream in streams}
        whole = [stream for stream in streams if stream not in kept]
        if whole:
            for stream, name, schema, data in self._pages.all(
                "SELECT stream, name, schema, data FROM events "
                f"WHERE stream IN ({marks(whole)}) ORDER BY stream, version",
                whole,
            ):
                events[stream].append((name, schema, data))
        for stream, snapshot in kept.items():
            for name, schema, data in self._pages.all(
                "SELECT name, schema, data FROM events WHERE stream = ? AND version > ? ORDER BY version",
                (stream, snapshot.version),
            ):
                events[stream].append((name, schema, data))
        return [Loaded(kept.get(stream), events[stream]) for stream in streams]

    async def stream(self, stream: str, after: int = 0, limit: int = 256) -> list[StoredEvent]:
        """Up to `limit` events of `stream` whose version is above `after`, oldest first."""
        sql = f"SELECT {_EVENT} FROM events WHERE stream = ? AND version > ? ORDER BY version LIMIT ?"
        return [_event(row) for row in self._pages.all(sql, (stream, after, limit))]

    async def read(self, after: int = 0, limit: int = 256, names: Collection[str] | None = None) -> list[StoredEvent]:
        """Up to `limit` events whose position is above `after`, of the given stored names or of all."""
        if names is None:
            sql = f"SELECT {_EVENT} FROM events WHERE position > ? ORDER BY position LIMIT ?"
            return [_event(row) for row in self._pages.all(sql, (after, limit))]
        different = set(names)
        if not different:
            return []
        parameters = [value for name in different for value in (name, after)]
        return [_event(row) for row in self._pages.all(_named(len(different)), (*parameters, limit))]

    async def page(self, after: int, limit: int, names: Collection[str]) -> tuple[int, list[StoredEvent]]:
        """The log's end, and then what `read` gives."""
        end = await self.end()
        return end, await self.read(after, limit, names) if end > after else []

    async def streams(self, category: str, after: str = "", limit: int = 256) -> list[str]:
        """Up to `limit` names of streams of `category` above `after`, in their order."""
        first = max(after, f"{category}/")
        rows = self._pages.all(_STREAMS, (first, limit, f"{category}0"))  # "0" follows "/" in ASCII
        return [stream for (stream,) in rows]

    async def end(self) -> int:
        """The position of the last event."""
        end: int = self._pages.value("SELECT coalesce(max(position), 0) FROM events")
        return end

    async def held(self) -> None:
        """Nobody holds readers back."""
        return
