"""Answers of queries that are kept: here, and over HTTP by whoever stands between (RFC 9111)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from colonnade.caching.query_cache import READING_SECONDS, KeptAnswer, QueryCache, ReadAnswer
from colonnade.messages import Query
from colonnade.observability.correlation import Context
from colonnade.persistence.reads import ReadsMade, reads_made, required_position
from colonnade.presentation.tokens import TOKEN_HEADER
from colonnade.security.tenants import TENANT_HEADER
from colonnade.world import World

__all__ = ["NO_STORE", "Cache", "CachedQueries", "InvalidCache", "Page"]

LONGEST_SECONDS = 86_400

NO_STORE = (b"cache-control", b"no-store")
"""For what nobody may keep: nothing says whether it depends on the caller."""

SURROGATE_KEY = b"surrogate-key"

_encode = msgspec.json.Encoder().encode


class InvalidCache(ValueError):
    """A cache that would keep nothing, or for too long."""

    def __init__(self, field: str, seconds: float, allowed: str) -> None:
        super().__init__(field, seconds, allowed)
        self.field, self.seconds, self.allowed = field, seconds, allowed

    def __str__(self) -> str:
        return f"A cache has {self.field} = {self.seconds}; choose {self.allowed}."


@dataclass(frozen=True, slots=True)
class Cache:
    """How long the answer of a query is kept, at most: the events that change the tables it reads end it sooner.

    For `seconds` it is given as it is, for `stale_seconds` more while it is read anew behind. It is kept for each
    caller apart, unless it is `public`: then the query is answered without its handler knowing who asks. Where a
    handler asks other services over the network, nothing ends an answer sooner. Raises `InvalidCache`.
    """

    seconds: float
    public: bool = False
    stale_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= LONGEST_SECONDS:
            raise InvalidCache("seconds", self.seconds, f"more than 0, up to {LONGEST_SECONDS}")
        if not 0 <= self.stale_seconds <= LONGEST_SECONDS:
            raise InvalidCache("stale_seconds", self.stale_seconds, f"0 to {LONGEST_SECONDS}")


class Page(NamedTuple):
    """What is answered: 200 with a body, or 304 without."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]]


class CachedQueries:
    """Answers the cached queries of one service."""

    def __init__(self, queries: QueryCache, service: str, history: UUID, world: World) -> None:
        self._queries = queries
        self._service = service
        self._history = history
        self._clock = world.clock
        self._controls: dict[Cache, Sequence[tuple[bytes, bytes]]] = {}

    async def answer(
        self,
        cache: Cache,
        query: Query[Any],
        headers: Mapping[bytes, bytes],
        context: Context,
        ask: Callable[[Query[Any], Context], Awaitable[Any]],
    ) -> Page:
        """Answer `query`, at least as new as `required_position` says; raises what `ask` raises."""
        required = self._required()

        async def read() -> ReadAnswer:
            made = ReadsMade()
            reads_made.set(made)
            # Whoever asks later may wait longer than the first
            deadline = self._clock.monotonic() + READING_SECONDS
            principal = None if cache.public else context.principal
            answer = await ask(query, msgspec.structs.replace(context, principal=principal, deadline=deadline))
            return ReadAnswer(_encode(answer), tuple(made.tables), max(required, made.position(self._service)))

        kept = await self._queries.answer(
            self._key(cache, query, context),
            read,
            seconds=cache.seconds,
            stale_seconds=cache.stale_seconds,
            required=required,
        )
        return self._page(cache, kept, headers)

    def _required(self) -> int:
        required = required_position.get()
        if required is None or required.service != self._service or required.history != self._history:
            return 0
        return required.position

    def _key(self, cache: Cache, query: Query[Any], context: Context) -> str:
        kind = type(query)
        asked = blake2b(_encode(query), digest_size=16).hexdigest()
        caller = "public" if cache.public else f"caller {context.principal or ''}"
        return f"{self._service}/{self._history.hex}/{kind.__module__}.{kind.__qualname__}/{asked}/{caller}"

    def _page(self, cache: Cache, kept: KeptAnswer, headers: Mapping[bytes, bytes]) -> Page:
        etag = kept.etag.encode()
        told = [(b"etag", etag), *(self._controls.get(cache) or self._control(cache))]
        age = (self._clock.micros() - kept.made) // 1_000_000
        if age > 0:
            told.append((b"age", str(age).encode()))
        if cache.public and self._queries.purging is not None and kept.tags:
            told.append((SURROGATE_KEY, " ".join(sorted(self._queries.surrogates(kept.tags))).encode()))
        known = headers.get(b"if-none-match")
        if known is not None and _matches(known, etag):
            return Page(304, b"", told)
        return Page(200, kept.body, told)

    def _control(self, cache: Cache) -> Sequence[tuple[bytes, bytes]]:
        control = f"{'public' if cache.public else 'private'}, max-age={int(cache.seconds)}"
        if cache.stale_seconds >= 1:
            control += f", stale-while-revalidate={int(cache.stale_seconds)}"
        # Who has seen more does not get what was kept for those who have not
        vary = TOKEN_HEADER if cache.public else b"authorization, cookie, " + TOKEN_HEADER
        if self._queries.tenant is not None:
            vary = TENANT_HEADER + b", " + vary
        made = self._controls[cache] = ((b"cache-control", control.encode()), (b"vary", vary))
        return made


def _matches(known: bytes, etag: bytes) -> bool:
    """Whether `If-None-Match` names `etag` (RFC 9110, 13.1.2: compared weakly)."""
    if known.strip() == b"*":
        return True
    return any(each.strip().removeprefix(b"W/") == etag for each in known.split(b","))
