"""One connection to a Valkey server, shared by all who ask: what they ask at the same time goes out together."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

__all__ = ["LINK_ERRORS", "LinkDown", "ValkeyLink"]

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 0.5
"""A server that answers later than this is away: what is kept in it would take longer than making it anew."""


class LinkDown(Exception):
    """The server cannot be asked now, for a reason."""


LINK_ERRORS = (LinkDown, RedisError, OSError, TimeoutError)
"""What asking over a link, or opening one, may raise."""


class ValkeyLink:
    """An open connection; `serve` must run for it to be of use, and ends when it breaks.

    `run_id` is the server process's own, so that all that is learnt over one link is learnt from one life of a server.
    """

    def __init__(self, connection: AbstractConnection, run_id: str) -> None:
        self._connection = connection
        self.run_id = run_id
        self._queued: list[tuple[Any, ...]] = []
        self._asked = asyncio.Event()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._down: str | None = None

    @classmethod
    async def open(cls, url: str) -> "ValkeyLink":
        """Connect to the server at `url`; raises one of `LINK_ERRORS`."""
        pool = ConnectionPool.from_url(url, protocol=2, socket_timeout=None, socket_connect_timeout=CONNECT_SECONDS)
        connection = pool.connection_class(**pool.connection_kwargs)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect_check_health(check_health=False)
                await connection.send_command("INFO", "server", check_health=False)
                told: bytes = await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        lines = dict(line.split(":", 1) for line in told.decode().splitlines() if ":" in line)
        return cls(connection, lines["run_id"])

    async def ask(self, *command: Any) -> Any:  # Any: what a server answers depends on the command
        """The server's answer to `command`; raises one of `LINK_ERRORS`."""
        if self._down is not None:
            raise LinkDown(self._down)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queued.append(command)
        self._waiting.append(answer)
        self._asked.set()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            # What is behind it in line would wait as long
            self.close(f"there was no answer for {ANSWER_SECONDS} s")
            raise LinkDown(self._down) from None

    async def serve(self, then: Callable[[], Awaitable[None]]) -> None:
        """Carry questions and answers until the connection breaks, and do `then` meanwhile; raises `LinkDown`."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read())
                group.create_task(self._write())
                await then()
        except* LINK_ERRORS as broken:
            cause: BaseException = broken
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            self.close(f"{cause}" or type(cause).__name__)
        finally:
            self.close("the connection was closed")
            await self._connection.disconnect(nowait=True)
        raise LinkDown(self._down or "")

    def close(self, reason: str) -> None:
        """Answer all who ask, and will ask, that the server cannot be asked."""
        if self._down is not None:
            return
        self._down = reason
        self._asked.set()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(LinkDown(reason))
        self._waiting.clear()

    async def _write(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            if self._down is not None:
                raise LinkDown(self._down)
            queued, self._queued = self._queued, []
            await self._connection.send_packed_command(self._connection.pack_commands(queued), check_health=False)

    async def _read(self) -> None:
        read = self._connection.read_response
        while True:
            answer: Any
            try:
                answer = await read(timeout=math.inf)
            except ResponseError as error:
                answer = error
            waiting = self._waiting.popleft()
            if waiting.done():  # its caller went away
                continue
            if isinstance(answer, ResponseError):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)
