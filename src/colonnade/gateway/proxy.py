"""The gateway as a process of its own: requests go to an instance of their service."""

import asyncio
from collections.abc import Collection

from starlette.types import Receive, Scope, Send

from colonnade.discovery import Registry
from colonnade.gateway.probes import health_answer
from colonnade.gateway.refusals import REQUESTS_IN_FLIGHT, busy, unknown_route
from colonnade.observability.foreground import Foreground
from colonnade.observability.health import Health, HealthState, Severity
from colonnade.presentation.balancing import Balancer
from colonnade.presentation.bodies import read_body
from colonnade.presentation.caching import NO_STORE
from colonnade.presentation.deadlines import TIMEOUT_HEADER, seconds_given
from colonnade.presentation.problems import PROBLEM_JSON, Problem
from colonnade.presentation.upstream import Headers, NotReached, UpstreamAnswer, UpstreamFailed

__all__ = ["ProxyGateway"]

GRACE_SECONDS = 2.0
"""So long beyond a request's own deadline, by which its service ends it, is an answer waited for."""

_RETRY = ((b"retry-after", b"1"),)

# Of one connection alone (RFC 9110, section 7.6.1), or said anew; and what only processes of the system may say
_NOT_HANDED_ON = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"host", b"content-length", b"expect", b"colonnade-context",
    }
)  # fmt: skip
_NOT_HANDED_BACK = _NOT_HANDED_ON - {b"content-length", b"host"} | {b"date", b"server"}


class ProxyGateway:
    """Routes `/api/{service}/…` to the instances of the services."""

    def __init__(
        self,
        services: Collection[str],
        registry: Registry,
        balancer: Balancer,
        health: Health,
        limit: int = REQUESTS_IN_FLIGHT,
    ) -> None:
        self._services = frozenset(services)
        self._registry = registry
        self._balancer = balancer
        self._health = health
        self._limit = limit
        self._foreground = Foreground()
        health.watch(self._missing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            if self._foreground.requests >= self._limit:
                raise busy(self._limit)
            with self._foreground.answering():
                answer = await self._route(scope, receive)
        except Problem as problem:
            body = problem.document()
            length = (b"content-length", str(len(body)).encode())
            headers = [(b"content-type", PROBLEM_JSON), length, NO_STORE, *problem.headers]
            answer = UpstreamAnswer(problem.status, headers, body)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _route(self, scope: Scope, receive: Receive) -> UpstreamAnswer:
        path: str = scope["path"]
        if path.startswith("/api/"):
            service = path[5:].partition("/")[0]
            if service in self._services:
                return await self._handed_on(service, scope, receive)
        elif (answer := health_answer(path, self._health)) is not None:
            return UpstreamAnswer(*answer)
        raise unknown_route(path, self._services)

    async def _handed_on(self, service: str, scope: Scope, receive: Receive) -> UpstreamAnswer:
        method: str = scope["method"]
        headers = _without(scope["headers"], _NOT_HANDED_ON)
        given = dict(headers)
        seconds = seconds_given(given.get(TIMEOUT_HEADER)) + GRACE_SECONDS
        # What may be done twice without harm is tried at another instance when one goes away in the middle
        repeatable = method in ("GET", "HEAD") or b"idempotency-key" in given
        target: bytes = scope["raw_path"]
        if scope["query_string"]:
            target = b"%b?%b" % (target, scope["query_string"])
        body = await read_body(receive)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._balancer.request(service, method, target, headers, body, repeatable=repeatable)
        except NotReached as error:
            raise Problem(503, "colonnade.NoInstance", str(error), headers=_RETRY) from error
        except UpstreamFailed as error:
            raise Problem(502, "colonnade.UpstreamFailed", str(error), headers=_RETRY) from error
        except TimeoutError as error:
            detail = f"{service} gave no answer within {seconds:.0f} s; try again."
            raise Problem(504, "colonnade.DeadlinePassed", detail) from error
        return answer._replace(headers=_without(answer.headers, _NOT_HANDED_BACK))

    def _missing(self) -> list[HealthState]:
        return [
            HealthState(f"{service}.instances", Severity.DEGRADED, f"No instance of {service} takes requests.")
            for service in sorted(self._services)
            if not self._registry.instances(service)
        ]


def _without(headers: Headers, left_out: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"connection" and value not in (b"keep-alive", b"close"):
            # It names others that are of this connection alone
            left_out = {*left_out, *(each.strip() for each in value.lower().split(b","))}
    return [header for header in headers if header[0] not in left_out]
