"""The gateway inside the process: a call, not a hop."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from colonnade.gateway.probes import HealthAnswer, health_answer
from colonnade.gateway.refusals import REQUESTS_IN_FLIGHT, busy, unknown_route
from colonnade.observability.foreground import Foreground
from colonnade.observability.health import Health
from colonnade.presentation.caching import NO_STORE
from colonnade.presentation.problems import PROBLEM_JSON, Problem

__all__ = ["EmbeddedGateway", "send_problem"]


class EmbeddedGateway:
    """Routes `/api/{service}/…` to the services and answers for their health."""

    def __init__(
        self,
        apps: Mapping[str, ASGIApp],
        health: Health,
        services: Mapping[str, Health],
        foreground: Foreground,
        limit: int = REQUESTS_IN_FLIGHT,
    ) -> None:
        self._apps = apps
        self._health = health
        self._services = services
        self._foreground = foreground
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if self._foreground.requests >= self._limit:
            await send_problem(send, busy(self._limit))
            return
        with self._foreground.answering():
            await self._route(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        _, _, rest = path.partition("/api/")
        if rest and path.startswith("/api/"):
            service, _, below = rest.partition("/")
            app = self._apps.get(service)
            if app is not None:
                inner_path = f"/{below}"
                if (answer := health_answer(inner_path, self._services[service])) is not None:
                    await _report(send, scope, answer)
                    return
                inner = dict(scope)
                inner["path"] = inner_path
                inner["root_path"] = f"{scope.get('root_path', '')}/api/{service}"
                await app(inner, receive, send)
                return
        elif (answer := health_answer(path, self._health)) is not None:
            await _report(send, scope, answer)
            return
        await send_problem(send, unknown_route(path, self._apps))


async def _report(send: Send, scope: Scope, answer: HealthAnswer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


async def send_problem(send: Send, problem: Problem) -> None:
    """Answer with `problem`."""
    body = problem.document()
    headers = [
        (b"content-type", PROBLEM_JSON),
        (b"content-length", str(len(body)).encode()),
        NO_STORE,
        *problem.headers,
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
