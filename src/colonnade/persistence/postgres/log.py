"""The log, read under the horizon; loads that are asked for at the same time are one statement."""

import asyncio
from collections.abc import Callable, Collection, Sequence

from colonnade.persistence.postgres.holding import Hold
from colonnade.persistence.postgres.rows import Pages
from colonnade.persistence.postgres.together import Together
from colonnade.persistence.store import HorizonHeld, Loaded, StoredEvent, StoredMessage
from colonnade.persistence.unit import Snapshot

__all__ = ["PostgresLog"]

_EVENT = "position, stream, version, id, name, schema, data, time, correlation, causation, principal"

# Along the index, one row a stream: a row an event would cost the client more than gathering them costs the server
_LOAD = """
    SELECT e.stream, array_agg(e.name ORDER BY e.version), array_agg(e.schema ORDER BY e.version),
        array_agg(e.data ORDER BY e.version)
    FROM {s}.events e WHERE e.stream = ANY ($1) GROUP BY e.stream
"""

# The snapshot of each stream, which has no name, then the events after it
_LOAD_FROM_SNAPSHOTS = """
    WITH wanted AS MATERIALIZED (
        SELECT w.place, w.stream, s.version, s.schema, s.data
        FROM unnest($1::text[]) WITH ORDINALITY AS w (stream, place) LEFT JOIN {s}.snapshots s ON s.stream = w.stream
    )
    SELECT w.place, w.version, NULL AS name, w.schema, w.data FROM wanted w WHERE w.version IS NOT NULL
    UNION ALL
    SELECT w.place, e.version, e.name, e.schema, e.data FROM wanted w CROSS JOIN LATERAL (
        SELECT e.version, e.name, e.schema, e.data FROM {s}.events e
        WHERE e.stream = w.stream AND e.version > coalesce(w.version, 0) ORDER BY e.version
    ) e
    ORDER BY 1, 2
"""

# From one stream to the next through the index, however many events each has
_STREAMS = """
    WITH RECURSIVE found (stream) AS (
        (SELECT e.stream FROM {s}.events e WHERE e.stream > $1 ORDER BY e.stream LIMIT 1)
        UNION ALL
        SELECT (SELECT e.stream FROM {s}.events e WHERE e.stream > found.stream ORDER BY e.stream LIMIT 1)
        FROM found WHERE found.stream < $3
    )
    SELECT stream FROM found WHERE stream < $3 LIMIT $2
"""

# The end first: what is read then has come at least as far
_PAGE = f"""
    SELECT e.reached, e.held, page.* FROM {{s}}.log_reach() AS e LEFT JOIN LATERAL (
        SELECT {_EVENT} FROM {{s}}.read_log($1, $2, $3) WHERE e.reached > $1
    ) page ON true
"""

_NOTHING = Loaded(None, ())


class PostgresLog:
    """The events of a service, in the order of their positions; readers never skip."""

    def __init__(self, pages: Pages, hold: Hold, is_writing: Callable[[], bool]) -> None:
        self._pages = pages
        self._hold = hold
        on = pages.on
        self._load = on(_LOAD)
        self._load_from_snapshots = on(_LOAD_FROM_SNAPSHOTS)
        self._read = on(f"SELECT {_EVENT} FROM {{s}}.read_log($1, $2, $3)")
        self._page = on(_PAGE)
        self._end = on("SELECT {s}.log_end()")
        self._held = on("SELECT reaches, session, seconds, doing FROM {s}.horizon_held()")
        self._stream = on(
            f"SELECT {_EVENT} FROM {{s}}.events WHERE stream = $1 AND version > $2 ORDER BY version LIMIT $3"
        )
        self._streams = on(_STREAMS)
        self._loads = Together(self._load_whole, lambda: not is_writing())
        self._loads_from_snapshots = Together(self._load_after_snapshots, lambda: not is_writing())

    async def load(self, streams: Sequence[str], *, snapshots: bool) -> Sequence[Loaded]:
        """What the aggregates of `streams` are rebuilt from, in their order."""
        together = self._loads_from_snapshots if snapshots else self._loads
        if len(streams) == 1:
            return [await together.ask(streams[0])]
        return await asyncio.gather(*(together.ask(stream) for stream in streams))

    async def _load_whole(self, streams: Sequence[str]) -> Sequence[Loaded]:
        found = {
            stream: Loaded(None, list(zip(names, schemas, datas, strict=True)))
            for stream, names, schemas, datas in await self._pages.all(self._load, streams)
        }
        return [found.get(stream, _NOTHING) for stream in streams]

    async def _load_after_snapshots(self, streams: Sequence[str]) -> Sequence[Loaded]:
        snapshots: list[Snapshot | None] = [None] * len(streams)
        events: list[list[StoredMessage]] = [[] for _ in streams]
        for place, version, name, schema, data in await self._pages.all(self._load_from_snapshots, streams):
            if name is None:
                snapshots[place - 1] = Snapshot(streams[place - 1], version, schema, data)
            else:
                events[place - 1].append((name, schema, data))
        return [Loaded(snapshot, found) for snapshot, found in zip(snapshots, events, strict=True)]

    async def stream(self, stream: str, after: int = 0, limit: int = 256) -> list[StoredEvent]:
        """Up to `limit` events of `stream` whose version is above `after`, oldest first."""
        return [StoredEvent(*row) for row in await self._pages.all(self._stream, stream, after, limit)]

    async def read(self, after: int = 0, limit: int = 256, names: Collection[str] | None = None) -> list[StoredEvent]:
        """Up to `limit` events whose position is above `after`, of the given stored names or of all."""
        named = None if names is None else sorted(set(names))
        return [StoredEvent(*row) for row in await self._pages.all(self._read, after, limit, named)]

    async def page(self, after: int, limit: int, names: Collection[str]) -> tuple[int, list[StoredEvent]]:
        """The log's end, and then what `read` gives, in one statement."""
        decided = self._hold.begin_look()
        rows = await self._pages.all(self._page, after, limit, sorted(set(names)))
        self._hold.end_look(decided, held=rows[0][1])
        return rows[0][0], [StoredEvent(*event) for _, _, *event in rows if event[0] is not None]

    async def streams(self, category: str, after: str = "", limit: int = 256) -> list[str]:
        """Up to `limit` names of streams of `category` above `after`, in their order."""
        first = max(after, f"{category}/")
        rows = await self._pages.all(self._streams, first, limit, f"{category}0")  # "0" follows "/" in ASCII
        return [stream for (stream,) in rows]

    async def end(self) -> int:
        """The position of the last event that readers may see; 0 for an empty log."""
        end: int = await self._pages.value(self._end)
        return end

    async def held(self) -> HorizonHeld | None:
        """By whom readers are held back, the oldest of them."""
        for row in await self._pages.all(self._held):
            return HorizonHeld(*row)
        return None
