"""One log line a request."""

from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from colonnade.observability.requests import RequestLog
from colonnade.world import real_world

CLOCK = real_world().clock


async def no_body() -> Message:
    """The end of an empty request."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def no_send(message: Message) -> None:
    """Nobody listens."""


async def logged(app: Any, path: str = "/api/ordering/orders", kind: str = "http") -> list[MutableMapping[str, Any]]:
    """The lines of one request, whose query string holds a secret."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": kind, "method": "GET", "path": path, "query_string": b"name=ann", "headers": []}
    with capture_logs() as lines:
        await RequestLog(app, CLOCK)(scope, no_body, send)
    return lines


def answering(status: int) -> Any:
    """An application that answers with `status` and a correlation id."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"0"), (b"x-correlation-id", b"abc")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return app


async def test_a_request_is_one_line_with_its_outcome() -> None:
    """Method, path, status, duration and the id that all that follows from it shares."""
    (line,) = await logged(answering(201))
    assert line.pop("milliseconds") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "path": "/api/ordering/orders",
        "status": 201,
        "correlation_id": "abc",
    }


async def test_a_query_string_is_not_logged() -> None:
    """It may hold personal data."""
    assert "ann" not in str(await logged(answering(200)))


@pytest.mark.parametrize(
    ("status", "path", "level"),
    [
        (200, "/api/ordering/orders", "info"),
        (404, "/api/ordering/orders", "info"),
        (503, "/api/ordering/orders", "warning"),
        (200, "/health/ready", "debug"),
        (200, "/-/ends/ordering", "debug"),
        (503, "/api/ordering/health/ready", "warning"),
    ],
)
async def test_the_level_tells_what_wants_attention(status: int, path: str, level: str) -> None:
    """Failures of the server are warnings; probes that are answered are no news."""
    (line,) = await logged(answering(status), path)
    assert line["log_level"] == level


async def test_a_request_that_is_never_answered_is_told_and_its_error_goes_on() -> None:
    """An application that raises before it answers is the server's to deal with, and the log's to tell."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    with capture_logs() as lines, pytest.raises(ZeroDivisionError):
        await RequestLog(broken, CLOCK)({"type": "http", "method": "GET", "path": "/"}, no_body, no_send)
    assert [(line["event"], line["log_level"]) for line in lines] == [("request not answered", "warning")]


async def test_what_is_no_request_passes_unseen() -> None:
    """Web sockets and the like are the application's own."""
    assert await logged(answering(200), kind="websocket") == []
