"""What the processes of a system ask of each other: messages of contracts, and what a broker lost.

These routes are for the system's own processes alone: the gateway does not lead to them.
"""

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from colonnade.domain import Refusal
from colonnade.messages import Command, Query
from colonnade.messages.codec import MalformedMessage, MessageCodec, NewerVersion
from colonnade.messages.names import UnknownMessage
from colonnade.observability.correlation import Context
from colonnade.observability.logs import get_logger
from colonnade.persistence.execution import Refused
from colonnade.persistence.failures import StoreConflict, StoreFailed
from colonnade.persistence.reads import StaleRead, required_position
from colonnade.persistence.unit import ChainId
from colonnade.presentation.problems import Problem
from colonnade.presentation.refusals import refusal_document
from colonnade.presentation.tokens import TOKEN_HEADER, brought_forward, format_token, parse_token
from colonnade.system.runtime import Runtime
from colonnade.workers.refetching import ends_of, from_outbox
from colonnade.workers.succession import histories_of
from colonnade.world import World

__all__ = ["CONTEXT_HEADER", "ENDS", "HISTORIES", "MESSAGES", "OUTBOX", "REFUSED", "Internal", "RemoteContext"]

MESSAGES = "/-/messages/"
OUTBOX = "/-/outbox/"
ENDS = "/-/ends/"
HISTORIES = "/-/histories/"
CONTEXT_HEADER = b"colonnade-context"
REFUSED = 409
"""The status of every refusal: its document says which it is."""

_log = get_logger()


class RemoteContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a call hands on: the context, with the seconds that are left instead of a deadline by a clock of its own."""

    correlation_id: UUID
    causation_id: UUID | None = None
    principal: str | None = None
    traceparent: str | None = None
    seconds: float | None = None


_decode_context = msgspec.json.Decoder(RemoteContext).decode


class Internal:
    """Answers these routes, and hands all others to `app`."""

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app = app
        self._services = runtime.services
        self._handled_by = runtime.topology.handled_by
        self._codec: MessageCodec = runtime.codec
        self._world: World = runtime.world
        tenant = runtime.engines.tenant
        self._tenant = tenant.name if tenant is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith("/-/"):
            await self._app(scope, receive, send)
            return
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        try:
            if path.startswith(MESSAGES):
                status, body, more = await self._message(path.removeprefix(MESSAGES), headers, receive)
            elif path.startswith(OUTBOX):
                query = parse_qs(scope["query_string"].decode("latin-1"))
                status, body, more = await self._outbox(path.removeprefix(OUTBOX), query)
            elif path.startswith(ENDS):
                query = parse_qs(scope["query_string"].decode("latin-1"))
                service = path.removeprefix(ENDS)
                ends = await ends_of(self._services[service].store, service, query["topic"])
                status, body, more = 200, msgspec.json.encode(ends), ()
            elif path.startswith(HISTORIES):
                store = self._services[path.removeprefix(HISTORIES)].store
                status, body, more = 200, msgspec.json.encode(histories_of(store)), ()
            else:
                status, body, more = 404, b"there is nothing here", ()
        except (UnknownMessage, MalformedMessage, NewerVersion, ValueError, KeyError) as error:
            status, body, more = 400, str(error).encode(), ()
        except Problem as problem:
            status, body, more = 400, str(problem).encode(), ()
        except (StoreConflict, StoreFailed, StaleRead, TimeoutError) as error:
            status, body, more = 503, f"{type(error).__name__}: {error}".encode(), ()
        except Exception as error:  # whatever a handler raises is answered, and told in the log
            _log.error("request failed", path=path, exc_info=error)
            status, body, more = 500, b"its log tells what went wrong", ()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [length, *more]})
        await send({"type": "http.response.body", "body": body})

    async def _message(
        self, name: str, headers: Mapping[bytes, bytes], receive: Receive
    ) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
        kind = self._codec.names.class_of(name)
        service = self._services[self._handled_by[kind]]
        # Of the same release or one beside it: a field that is not known here is passed over
        message = self._codec.decode(name, kind.message_version, await _body(receive))
        sent = _decode_context(headers[CONTEXT_HEADER])
        deadline = None if sent.seconds is None else self._world.clock.monotonic() + sent.seconds
        context = Context(
            sent.correlation_id, sent.causation_id, sent.principal, sent.traceparent, deadline, self._tenant
        )
        async with asyncio.timeout(sent.seconds):
            if isinstance(message, Command):
                outcome = await service.handlers.execute(message, context)
                token = format_token(service.name, service.store.history, outcome.position).encode()
                if isinstance(outcome, Refused):
                    return REFUSED, refusal_document(outcome.refusal), ((TOKEN_HEADER, token),)
                return 200, msgspec.json.encode(outcome.value), ((TOKEN_HEADER, token),)
            assert isinstance(message, Query)
            if (required := headers.get(TOKEN_HEADER)) is not None:
                seen, store = parse_token(required.decode("latin-1")), service.store
                required_position.set(brought_forward(seen, service.name, store.history, store.ended))
            try:
                return 200, msgspec.json.encode(await service.handlers.ask(message)), ()
            except Refusal as refusal:
                return REFUSED, refusal_document(refusal), ()

    async def _outbox(
        self, service: str, query: Mapping[str, list[str]]
    ) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
        (history,), (topic,), (partition,), (after,) = (
            query[name] for name in ("history", "topic", "partition", "after")
        )
        chain = ChainId(service, UUID(history), topic, int(partition))
        return 200, msgspec.json.encode(await from_outbox(self._services[service].store, chain, int(after))), ()


async def _body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ValueError("the caller went away")
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)
