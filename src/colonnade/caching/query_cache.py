"""Answers of queries, kept: never older than what their caller has seen, read once for all who ask at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from colonnade.caching.cache import CacheStore, Missed
from colonnade.caching.purge import PurgeQueue
from colonnade.observability.health import HealthState
from colonnade.observability.logs import get_logger
from colonnade.world import World

__all__ = ["KeptAnswer", "QueryCache", "ReadAnswer"]

READING_SECONDS = 30.0
"""How long an answer may take that nobody in particular waits for."""

_NOTHING = "nothing"
"""A key under which nothing is ever kept: asked to learn the moment before a reading begins."""

_log = get_logger()


class ReadAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer as it was read: what it was made from, and up to which position of the log it is complete."""

    body: bytes
    tags: tuple[str, ...]
    position: int


class KeptAnswer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An answer that is kept; read at `made` (microseconds since 1970-01-01T00:00:00Z), complete up to `position`."""

    body: bytes
    tags: tuple[str, ...]
    position: int
    made: int
    etag: str


Read = Callable[[], Awaitable[ReadAnswer]]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(KeptAnswer).decode


@dataclass(slots=True)
class _Flight:
    task: "asyncio.Task[tuple[KeptAnswer, bool]]"
    waiting: int = 0
    wanted: bool = False
    """Whether it goes on without anybody waiting for it."""


class QueryCache:
    """Keeps answers in `store`; `purging`, where there is one, tells the world outside what has changed.

    Where they are a `tenant`'s, so is the store.
    """

    def __init__(
        self, store: CacheStore, world: World, purging: PurgeQueue | None = None, tenant: str | None = None
    ) -> None:
        self.store = store
        self.tenant = tenant
        self.purging = purging
        self._micros = world.clock.micros
        self._flights: dict[tuple[str, int], _Flight] = {}

    async def answer(
        self, key: str, read: Read, *, seconds: float, stale_seconds: float = 0.0, required: int = 0
    ) -> KeptAnswer:
        """The answer kept under `key`, or the one that `read` gives; raises what `read` raises.

        One that is not complete up to the position `required` is passed over. For `seconds` an answer is given as it
        is, for `stale_seconds` more while it is read anew behind. `read` runs in a task of its own, once for all who
        ask at the same time; when none of them waits any longer, it is cancelled.
        """
        found = await self.store.get(key)
        if isinstance(found, Missed):
            return await self._read(key, read, seconds + stale_seconds, required, found)
        kept = _decode(found)
        age = (self._micros() - kept.made) / 1_000_000
        if kept.position >= required and 0 <= age < seconds + stale_seconds:
            if age >= seconds:
                self._fly(key, read, seconds + stale_seconds, required, None).wanted = True
            return kept
        return await self._read(key, read, seconds + stale_seconds, required, None)

    async def changed(self, tags: Collection[str]) -> None:
        """Forget the answers that were made from what has changed, here and before the service."""
        await self.store.invalidate(tags)
        if self.purging is not None:
            self.purging.add(self.surrogates(tags))

    def surrogates(self, tags: Collection[str]) -> Collection[str]:
        """What `tags` are called outside."""
        return tags if self.tenant is None else [f"{self.tenant}/{tag}" for tag in tags]

    def health(self) -> Sequence[HealthState]:
        """What keeps answers from being kept, or pages from being purged."""
        purging = self.purging.health() if self.purging is not None else ()
        return (*self.store.health(), *purging)

    async def close(self) -> None:
        """End what is being read."""
        flights = [flight.task for flight in self._flights.values()]
        for flight in flights:
            flight.cancel()
        if flights:
            await asyncio.wait(flights)

    async def _read(self, key: str, read: Read, kept_seconds: float, required: int, since: Missed | None) -> KeptAnswer:
        joined = self._flying(key, required)
        if joined is not None:
            kept, current = await self._landed(key, required, joined)
            if current:
                return kept
            # It began before this request came and something has changed since; a flight that is there now did not
            since = None
        kept, _ = await self._landed(key, required, self._fly(key, read, kept_seconds, required, since))
        return kept

    def _flying(self, key: str, required: int) -> _Flight | None:
        flight = self._flights.get((key, required))
        # One that is done is there for a moment yet, and knows nothing of what happened since
        return flight if flight is not None and not flight.task.done() else None

    def _fly(self, key: str, read: Read, kept_seconds: float, required: int, since: Missed | None) -> _Flight:
        flight = self._flying(key, required)
        if flight is None:
            task = asyncio.create_task(self._reading(key, read, kept_seconds, since))
            flight = self._flights[key, required] = _Flight(task)
            task.add_done_callback(lambda _: self._ended(key, required, flight))
        return flight

    async def _landed(self, key: str, required: int, flight: _Flight) -> tuple[KeptAnswer, bool]:
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.wanted and not flight.task.done():
                # Out of the way first: who comes while it is being cancelled begins another one
                self._flights.pop((key, required), None)
                flight.task.cancel()

    async def _reading(
        self, key: str, read: Read, kept_seconds: float, since: Missed | None
    ) -> tuple[KeptAnswer, bool]:
        if since is None:
            before = await self.store.get(_NOTHING)
            assert isinstance(before, Missed)
            since = before
        made = self._micros()
        async with asyncio.timeout(READING_SECONDS):
            answer = await read()
        kept = KeptAnswer(answer.body, answer.tags, answer.position, made, _etag(answer.body))
        current = await self.store.set(key, _encode(kept), kept_seconds, tags=answer.tags, since=since)
        return kept, current

    def _ended(self, key: str, required: int, flight: _Flight) -> None:
        if self._flights.get((key, required)) is flight:
            del self._flights[key, required]
        if flight.task.cancelled():
            return
        error = flight.task.exception()
        if error is not None and flight.wanted and not flight.waiting:
            _log.warning("answer not renewed", key=key, error=f"{type(error).__name__}: {error}")


def _etag(body: bytes) -> str:
    """A strong validator (RFC 9110, 8.8.3): other bytes have another one."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'
