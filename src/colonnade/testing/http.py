"""Requests to an ASGI application, without a network between."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.types import ASGIApp, Message

__all__ = ["HttpAnswer", "request"]


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # Any: JSON can be anything
        """The body, decoded."""
        return msgspec.json.decode(self.body)


async def request(
    app: ASGIApp,
    method: str,
    target: str,
    *,
    body: bytes | AsyncIterator[bytes] = b"",
    json: object = msgspec.UNSET,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
) -> HttpAnswer:
    """Send one request to `app`; `json` sets the body and its type, an iterator as body is sent in chunks."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    raw = [(name.lower(), value) for name, value in pairs]
    given = {name for name, _ in raw}
    if json is not msgspec.UNSET:
        body = msgspec.json.encode(json)
        if "content-type" not in given:
            raw.append(("content-type", "application/json"))
    if isinstance(body, bytes) and "content-length" not in given:
        raw.append(("content-length", str(len(body))))
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in raw],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    incoming = _messages(body)
    sent: list[Message] = []

    async def receive() -> Message:
        return await anext(incoming)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *bodies = sent
    answer_headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    return HttpAnswer(start["status"], answer_headers, b"".join(part.get("body", b"") for part in bodies))


async def _messages(body: bytes | AsyncIterator[bytes]) -> AsyncIterator[Message]:
    if isinstance(body, bytes):
        yield {"type": "http.request", "body": body, "more_body": False}
    else:
        async for chunk in body:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}
    await asyncio.get_running_loop().create_future()
