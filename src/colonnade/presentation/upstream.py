"""Requests to other processes: HTTP/1.1 over connections that are kept (RFC 9112), on asyncio and httptools.

A client of our own, since every request through a gateway goes through one: a general one costs three times as much.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, cast

import httptools

from colonnade.discovery import Address

__all__ = ["Headers", "NotReached", "Upstream", "UpstreamAnswer", "UpstreamFailed"]

IDLE_CONNECTIONS = 64
"""So many connections to one instance are kept while nobody uses them."""

IDLE_SECONDS = 30.0
"""After so long without use a connection is given up: its server closes it soon, perhaps under the next request."""

CONNECT_SECONDS = 2.0

Headers = Sequence[tuple[bytes, bytes]]


class UpstreamFailed(Exception):
    """Another process did not answer; what it was asked to do may have been done."""

    def __init__(self, upstream: str, reason: str) -> None:
        super().__init__(upstream, reason)
        self.upstream, self.reason = upstream, reason

    def __str__(self) -> str:
        return f"{self.upstream} did not answer: {self.reason}; try again."


class NotReached(UpstreamFailed):
    """Nothing reached the other process: it can be asked of another instance."""


class UpstreamAnswer(NamedTuple):
    """What it answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class _Exchange(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[UpstreamAnswer] | None = None
        self._head = False
        self.usable = False
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # other loops' transports are no subclass of it
        self.usable = True

    async def ask(self, request: bytes, *, head: bool) -> UpstreamAnswer:
        """Send a request and return what comes back; raises ConnectionError."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._head = head
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answered
        except asyncio.CancelledError:
            self.close()  # its answer would be taken for that of the next request
            raise
        finally:
            self._answered = None

    def close(self) -> None:
        """Be of no use any more."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answered is None:
            self.close()  # nothing was asked
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"its answer is no HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        self._fail(ConnectionError(str(error) if error else "the connection was closed"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._head:
            # It tells of a body that will not come, so that where the answer ends is not known to the parser
            self._done(keep=False)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # the answer is still to come
            self._headers.clear()
            return
        self._done(keep=self._parser.should_keep_alive())

    def _done(self, *, keep: bool) -> None:
        if self._answered is not None and not self._answered.done():
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._answered.set_result(UpstreamAnswer(self._parser.get_status_code(), self._headers, body))
            self._headers = []
            if keep:
                return
        self.close()

    def _fail(self, error: ConnectionError) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)
        self.close()


class Upstream:
    """One instance of another service. Requests beside each other take connections of their own."""

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self.address = address
        self._host = str(address).encode()
        self._idle: deque[_Exchange] = deque()
        self.in_flight = 0
        """How many requests wait for their answers."""

    async def request(
        self, method: str, target: bytes, headers: Headers, body: bytes = b"", *, repeatable: bool = False
    ) -> UpstreamAnswer:
        """Send a request; the caller bounds the time.

        One that is `repeatable` is sent again where a kept connection turns out to be closed. Raises `NotReached` where
        nothing was sent, else `UpstreamFailed`.
        """
        request = _written(method, target, self._host, headers, body)
        self.in_flight += 1
        try:
            while True:
                kept = self._kept()
                exchange = kept or await self._connected()
                try:
                    answer = await exchange.ask(request, head=method == "HEAD")
                except ConnectionError as error:
                    if kept is not None and repeatable:
                        continue
                    raise UpstreamFailed(f"{self.name} at {self.address}", str(error)) from error
                if exchange.usable:
                    self._keep(exchange)
                return answer
        finally:
            self.in_flight -= 1

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _kept(self) -> _Exchange | None:
        while self._idle:
            exchange = self._idle.pop()  # the one used last: the server has kept it for the shortest time
            if exchange.usable and exchange.idle_since > asyncio.get_running_loop().time() - IDLE_SECONDS:
                return exchange
            exchange.close()
        return None

    def _keep(self, exchange: _Exchange) -> None:
        exchange.idle_since = asyncio.get_running_loop().time()
        self._idle.append(exchange)
        if len(self._idle) > IDLE_CONNECTIONS:
            self._idle.popleft().close()

    async def _connected(self) -> _Exchange:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, exchange = await loop.create_connection(_Exchange, self.address.host, self.address.port)
        except (OSError, TimeoutError) as error:
            reason = str(error) or "it does not take connections"
            raise NotReached(f"{self.name} at {self.address}", reason) from error
        return exchange


def _written(method: str, target: bytes, host: bytes, headers: Headers, body: bytes) -> bytes:
    lines = [b"%s %s HTTP/1.1\r\nhost: %s\r\n" % (method.encode(), target, host)]
    lines += [b"%s: %s\r\n" % header for header in headers]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(b"content-length: %d\r\n" % len(body))
    return b"".join([*lines, b"\r\n", body])
