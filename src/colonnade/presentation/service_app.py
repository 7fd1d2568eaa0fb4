"""A service's endpoints as an ASGI application."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec
from starlette.types import Receive, Scope, Send

from colonnade.caching.query_cache import QueryCache
from colonnade.domain import Refusal
from colonnade.messages import Command, Query
from colonnade.observability.correlation import Context
from colonnade.observability.logs import get_logger
from colonnade.observability.traceparent import TraceParent
from colonnade.persistence.execution import Outcome, Refused
from colonnade.persistence.failures import (
    AlreadyAnswered,
    OutcomeUnknown,
    StoredAnswer,
    StoreFailed,
    VersionConflict,
    WriteFailed,
)
from colonnade.persistence.quotas import QuotaReached
from colonnade.persistence.reads import StaleRead, required_position
from colonnade.persistence.unit import Answer, Effect
from colonnade.presentation.binding import BodyBinding, QueryBinding
from colonnade.presentation.bodies import BODY_LIMIT_BYTES, read_body, too_large
from colonnade.presentation.caching import NO_STORE, CachedQueries
from colonnade.presentation.deadlines import TIMEOUT_HEADER, seconds_given
from colonnade.presentation.dispatch import Dispatch
from colonnade.presentation.endpoints import Api, Endpoint, Get, Post
from colonnade.presentation.problems import PROBLEM_JSON, Problem, problem_of_refusal
from colonnade.presentation.tokens import TOKEN_HEADER, brought_forward, format_token, parse_token
from colonnade.presentation.upstream import UpstreamFailed
from colonnade.world import World, text_of

__all__ = ["ServiceApp"]

ANSWER_KEPT_MICROSECONDS = 48 * 3_600 * 1_000_000
RETRY_AFTER_SECONDS = 1

_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_JSON = b"application/json"

_log = get_logger()
_encode = msgspec.json.Encoder().encode


class _Stored(msgspec.Struct, frozen=True):
    """An answer as it is kept for those who ask again."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


_decode_stored = msgspec.json.Decoder(_Stored).decode


@dataclass(frozen=True, slots=True)
class _Answered:
    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()
    content_type: bytes = _JSON


@dataclass(frozen=True, slots=True)
class _Route:
    pattern: re.Pattern[str]
    methods: Mapping[str, tuple[Endpoint, BodyBinding | QueryBinding]]


class ServiceApp:
    """Answers the requests to one service."""

    def __init__(
        self, api: Api, dispatch: Dispatch, world: World, queries: QueryCache, tenant: str | None = None
    ) -> None:
        self._dispatch = dispatch
        self._world = world
        self._tenant = tenant
        self._cached = CachedQueries(queries, dispatch.service, dispatch.history, world)
        self._mounts = api.mounts
        self._routes = _routes(api)
        self._static = {route.pattern.pattern: route for route in self._routes if "(" not in route.pattern.pattern}
        self._in_work: dict[str, asyncio.Future[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        path: str = scope["path"]
        for mount in self._mounts:
            if path == mount.path or path.startswith(f"{mount.path}/"):
                inner = {**scope, "path": path[len(mount.path) :] or "/"}
                inner["root_path"] = scope.get("root_path", "") + mount.path
                await mount.app(inner, receive, send)
                return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        context = self._context(headers)
        try:
            answered = await self._answer(scope, receive, headers, context)
        except Problem as problem:
            answered = _of_problem(problem)
        except WriteFailed as error:
            # The unit is at fault, not the database: it would be refused again, so that nobody is told to come again
            answered = self._failed(error, scope, context)
        except QuotaReached as reached:
            answered = _of_problem(Problem(403, "colonnade.QuotaReached", str(reached)))
        except (VersionConflict, StaleRead, StoreFailed, UpstreamFailed, TimeoutError) as error:
            answered = _of_problem(_problem_of(error))
        except Exception as error:  # whatever a handler raises is answered, and told in the log
            answered = self._failed(error, scope, context)
        await _send(send, answered, context, head=scope["method"] == "HEAD")

    async def _answer(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], context: Context
    ) -> _Answered:
        endpoint, binding, path = self._match(scope)
        assert context.deadline is not None
        async with asyncio.timeout(context.deadline - self._world.clock.monotonic()):
            if isinstance(binding, BodyBinding):
                body = await _body(headers, receive)
                command = binding.bind(path, body)
                assert isinstance(command, Command)
                assert isinstance(endpoint, Post)
                return await self._execute(endpoint, command, body, path, scope, headers, context)
            query = binding.bind(path, scope["query_string"])
            assert isinstance(query, Query)
            assert isinstance(endpoint, Get)
            return await self._ask(endpoint, query, headers, context)

    def _failed(self, error: Exception, scope: Scope, context: Context) -> _Answered:
        _log.error(
            "request failed",
            service=self._dispatch.service,
            method=scope["method"],
            path=scope["path"],
            correlation_id=str(context.correlation_id),
            **({} if context.tenant is None else {"tenant": context.tenant}),
            exc_info=error,
        )
        detail = f"Something went wrong here; the log tells what, under {context.correlation_id}."
        return _of_problem(Problem(500, "colonnade.InternalError", detail))

    def _match(self, scope: Scope) -> tuple[Endpoint, BodyBinding | QueryBinding, Mapping[str, str]]:
        path, method = scope["path"], scope["method"]
        route = self._static.get(re.escape(path))
        values: Mapping[str, str] = {}
        if route is None:
            for candidate in self._routes:
                if (match := candidate.pattern.fullmatch(path)) is not None:
                    route, values = candidate, match.groupdict()
                    break
            else:
                raise Problem(
                    404,
                    "colonnade.UnknownRoute",
                    f"There is nothing at {scope.get('root_path', '')}{path}; see the OpenAPI document.",
                )
        found = route.methods.get("GET" if method == "HEAD" else method)
        if found is None:
            allowed = ", ".join(sorted({*route.methods, *(("HEAD",) if "GET" in route.methods else ())}))
            raise Problem(
                405,
                "colonnade.MethodNotAllowed",
                f"{method} is not possible here; possible are {allowed}.",
                headers=((b"allow", allowed.encode()),),
            )
        return (*found, values)

    async def _ask(
        self, endpoint: Get[Any], query: Query[Any], headers: Mapping[bytes, bytes], context: Context
    ) -> _Answered:
        token = headers.get(TOKEN_HEADER)
        if token is not None:
            seen, dispatch = parse_token(token.decode("latin-1")), self._dispatch
            required_position.set(brought_forward(seen, dispatch.service, dispatch.history, dispatch.ended))
        try:
            if endpoint.cache is not None:
                return _Answered(
                    *await self._cached.answer(endpoint.cache, query, headers, context, self._dispatch.ask)
                )
            answer = await self._dispatch.ask(query, context)
        except Refusal as refusal:
            return _of_problem(problem_of_refusal(refusal, self._dispatch.origin(refusal)))
        return _Answered(200, _encode(answer), (NO_STORE,))

    async def _execute(
        self,
        endpoint: Post[Any],
        command: Command[Any],
        body: bytes,
        path: Mapping[str, str],
        scope: Scope,
        headers: Mapping[bytes, bytes],
        context: Context,
    ) -> _Answered:
        key = headers.get(b"idempotency-key")

        def answered(outcome: Outcome[Any]) -> _Answered:
            return self._of_outcome(outcome, endpoint, path, scope)

        if key is None:
            outcome = await self._dispatch.execute(command, context, None)
            return self._with_token(answered(outcome), outcome.position)
        if not _KEY.fullmatch(key):
            raise Problem(
                400, "colonnade.MalformedIdempotencyKey", "Idempotency-Key has 1 to 255 visible ASCII characters."
            )
        key_scope = f"{context.principal or ''}|{endpoint.method} {scope['path']}|{key.decode()}"
        fingerprint = blake2b(body, digest_size=16).digest()
        while (in_work := self._in_work.get(key_scope)) is not None:
            await asyncio.wait([in_work])
        done = self._in_work[key_scope] = asyncio.get_running_loop().create_future()
        try:
            return await self._execute_once(command, context, key_scope, fingerprint, answered)
        finally:
            del self._in_work[key_scope]
            done.set_result(None)

    async def _execute_once(
        self, command: Command[Any], context: Context, scope: str, fingerprint: bytes, answered: Any
    ) -> _Answered:
        def close(outcome: Outcome[Any]) -> Sequence[Effect]:
            answer = answered(outcome)
            stored = _Stored(
                answer.status,
                [(name.decode(), value.decode()) for name, value in answer.headers],
                answer.body,
            )
            expires = self._world.clock.micros() + ANSWER_KEPT_MICROSECONDS
            return (Answer(scope, fingerprint, _encode(stored), expires),)

        try:
            outcome = await self._dispatch.execute(command, context, close)
        except AlreadyAnswered as already:
            return await self._again(already.answer, fingerprint)
        except OutcomeUnknown:
            raise  # what is committed, if it is, may not be seen yet
        except Exception:
            # As a rule nobody has asked before. Where somebody has, the answer is there whatever goes wrong now
            if (before := await self._dispatch.answer(scope)) is not None:
                return await self._again(before, fingerprint)
            raise
        return self._with_token(answered(outcome), outcome.position)

    async def _again(self, stored: StoredAnswer, fingerprint: bytes) -> _Answered:
        # Where its events lie was not known when the answer was stored: behind the end of the log they are not
        return self._with_token(_replayed(stored, fingerprint), await self._dispatch.end())

    def _of_outcome(
        self, outcome: Outcome[Any], endpoint: Post[Any], path: Mapping[str, str], scope: Scope
    ) -> _Answered:
        if isinstance(outcome, Refused):
            return _of_problem(problem_of_refusal(outcome.refusal, self._dispatch.origin(outcome.refusal)))
        if endpoint.creates is not None:
            made = endpoint.creates.format(**path, id=text_of(outcome.value))
            location = scope.get("root_path", "") + made
            return _Answered(201, _encode({"id": outcome.value}), ((b"location", location.encode()),))
        if outcome.value is None or outcome.deferred is not None:
            return _Answered(204, b"")
        return _Answered(200, _encode(outcome.value))

    def _with_token(self, answered: _Answered, position: int) -> _Answered:
        token = format_token(self._dispatch.service, self._dispatch.history, position)
        return _Answered(
            answered.status, answered.body, (*answered.headers, (TOKEN_HEADER, token.encode())), answered.content_type
        )

    def _context(self, headers: Mapping[bytes, bytes]) -> Context:
        randomness = self._world.randomness
        given = headers.get(b"traceparent")
        trace = TraceParent.parse(given.decode("latin-1")) if given is not None else None
        trace = trace.child(randomness) if trace is not None else TraceParent.begin(randomness)
        return Context(
            correlation_id=_correlation(headers) or self._world.ids.new(),
            traceparent=str(trace),
            deadline=self._world.clock.monotonic() + seconds_given(headers.get(TIMEOUT_HEADER)),
            tenant=self._tenant,
        )


def _correlation(headers: Mapping[bytes, bytes]) -> UUID | None:
    given = headers.get(b"x-correlation-id")
    if given is None or len(given) > 64:
        return None
    try:
        return UUID(given.decode("latin-1"))
    except ValueError:
        return None


def _routes(api: Api) -> Sequence[_Route]:
    by_pattern: dict[str, dict[str, tuple[Endpoint, BodyBinding | QueryBinding]]] = {}
    for endpoint in api.endpoints:
        parts = [
            f"(?P<{part[1:-1]}>[^/]+)" if part.startswith("{") else re.escape(part) for part in endpoint.path.split("/")
        ]
        binding = (BodyBinding if isinstance(endpoint, Post) else QueryBinding)(endpoint.message, endpoint.path_names)
        by_pattern.setdefault("/".join(parts), {})[endpoint.method] = (endpoint, binding)
    # Paths without names first: /orders/mine is not the order called mine
    ordered = sorted(by_pattern.items(), key=lambda item: item[0].count("("))
    return [_Route(re.compile(pattern), methods) for pattern, methods in ordered]


async def _body(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    length = headers.get(b"content-length", b"")
    if content_type != _JSON and (content_type or length not in (b"", b"0")):
        raise Problem(
            415,
            "colonnade.UnsupportedMediaType",
            f"The body is {content_type.decode('latin-1') or 'of no stated type'}; send application/json.",
        )
    if length.isdigit() and int(length) > BODY_LIMIT_BYTES:
        raise too_large()
    return await read_body(receive)


def _problem_of(error: Exception) -> Problem:
    match error:
        case VersionConflict():
            fields = {"stream": error.stream, "expected": error.expected, "actual": error.actual}
            return Problem(409, "colonnade.VersionConflict", str(error), fields=fields)
        case TimeoutError():
            return Problem(504, "colonnade.DeadlinePassed", "There was no answer within the time given; try again.")
        case OutcomeUnknown():
            # Nobody is told to come again: without a key it might be done twice
            return Problem(504, "colonnade.OutcomeUnknown", str(error))
        case _:
            retry = ((b"retry-after", str(RETRY_AFTER_SECONDS).encode()),)
            return Problem(503, f"colonnade.{type(error).__name__}", str(error), headers=retry)


def _of_problem(problem: Problem) -> _Answered:
    return _Answered(problem.status, problem.document(), (*problem.headers, NO_STORE), PROBLEM_JSON)


def _replayed(stored: StoredAnswer, fingerprint: bytes) -> _Answered:
    if stored.fingerprint != fingerprint:
        raise Problem(
            422,
            "colonnade.IdempotencyKeyReused",
            "This Idempotency-Key was used with another body; use a new key for a new request.",
        )
    answer = _decode_stored(stored.response)
    headers = [(name.encode(), value.encode()) for name, value in answer.headers]
    headers.append((b"idempotency-replayed", b"true"))
    return _Answered(answer.status, answer.body, headers, PROBLEM_JSON if answer.status >= 400 else _JSON)


async def _send(send: Send, answered: _Answered, context: Context, *, head: bool) -> None:
    headers = [
        (b"x-correlation-id", text_of(context.correlation_id).encode()),
        (b"content-length", str(len(answered.body)).encode()),
        *answered.headers,
    ]
    if answered.body:
        headers.append((b"content-type", answered.content_type))
    if answered.status in (204, 304):
        del headers[1]
    await send({"type": "http.response.start", "status": answered.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answered.body})
