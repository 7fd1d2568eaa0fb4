"""What other processes have added to the same store: told by the database after their commits, else looked for.

A notification inside a transaction would take a lock of the whole server; these are statements of their own, sent after
commits, one for all commits of five milliseconds.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from colonnade.persistence.postgres.connections import Connection, Connections, connect, end
from colonnade.persistence.postgres.failures import DRIVER_ERRORS
from colonnade.persistence.postgres.rows import Pages
from colonnade.persistence.postgres.writer import Drawn
from colonnade.persistence.store import StoreClosed, StoreFailed, Touched
from colonnade.world import World

__all__ = ["Notices"]

SEND_SECONDS = 0.005
"""At most one notification in this time."""

LOOK_SECONDS = 0.1
"""How often the store is looked at while nothing is told: what others add is seen after half of it, as a rule."""

LISTENING_LOOK_SECONDS = 1.0
"""How often while it is told: a notification may get lost with its connection."""

_ALL = Touched.EVENTS | Touched.OUTBOX | Touched.INBOX | Touched.TIMERS | Touched.CHECKPOINTS


class Notices:
    """Sends, listens, and looks."""

    def __init__(
        self,
        url: str,
        schema: str,
        connections: Connections,
        pages: Pages,
        drawn: Drawn,
        world: World,
        tell: Callable[[Touched], None],
        instance: str,
    ) -> None:
        self._url = url
        self._channel = f"colonnade.{schema}"
        self._connections = connections
        self._pages = pages
        self._drawn = drawn
        self._world = world
        self._tell = tell
        self._me = instance
        self._name = f"colonnade {instance} listener"
        self._unsent = 0
        self._sending: asyncio.Task[None] | None = None
        self._look = pages.on("SELECT (SELECT last_value FROM {s}.positions), (SELECT last_value FROM {s}.inbox_rows)")
        self._known = (0, 0)
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = False
        self._tried = asyncio.Event()

    async def start(self) -> None:
        """Listen and look from now on; returns when it listens, or could not. Raises `StoreFailed`."""
        self._known = await self._drawn_by_others()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._listen()), loop.create_task(self._keep_looking())]
        await self._tried.wait()

    def committed(self, touched: Touched) -> None:
        """Let the other processes know."""
        self._unsent |= touched.value
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def close(self) -> None:
        """Send what is not sent, and stop."""
        for task in self._tasks:
            task.cancel()
        if self._sending is not None:
            self._tasks.append(self._sending)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self) -> None:
        try:
            while self._unsent:
                touched, self._unsent = self._unsent, 0
                async with self._connections.reader() as connection:
                    await connection.execute("SELECT pg_notify($1, $2)", self._channel, f"{touched} {self._me}")
                if self._tasks[0].cancelling():
                    return
                await self._world.sleep(SEND_SECONDS)
        except (StoreFailed, StoreClosed, *DRIVER_ERRORS):
            self._unsent = 0  # others look for themselves
        finally:
            self._sending = None

    async def _listen(self) -> None:
        while True:
            async with AsyncExitStack() as open:
                try:
                    connection = await _whole(
                        connect(self._url, {"application_name": f"colonnade {self._me} listener"})
                    )
                    open.push_async_callback(end, connection)
                    gone = asyncio.Event()
                    connection.add_termination_listener(_setting(gone))
                    await connection.add_listener(self._channel, self._heard)
                    self._listening = True
                    if self._tried.is_set():
                        self._tell(_ALL)  # whatever was told while nobody listened
                    self._tried.set()
                    await gone.wait()
                except DRIVER_ERRORS:
                    self._tried.set()
                    await self._world.sleep(LISTENING_LOOK_SECONDS)
                finally:
                    self._listening = False

    def _heard(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        touched, _, sender = str(payload).partition(" ")
        if sender != self._me and touched.isdecimal():
            self._tell(Touched(int(touched)) & _ALL)

    async def _keep_looking(self) -> None:
        while True:
            await self._world.sleep(LISTENING_LOOK_SECONDS if self._listening else LOOK_SECONDS)
            try:
                positions, rows = await self._drawn_by_others()
            except StoreFailed:
                continue  # told by whoever needs the store
            known_positions, known_rows = self._known
            touched = Touched(0)
            if positions > known_positions:
                touched |= Touched.EVENTS | Touched.OUTBOX
            if rows > known_rows:
                touched |= Touched.INBOX
            self._known = max(positions, known_positions), max(rows, known_rows)
            if touched:
                self._tell(touched)

    async def _drawn_by_others(self) -> tuple[int, int]:
        """How many positions and rows others have drawn, at least: one's own are counted before they are drawn."""
        ((positions, rows),) = await self._pages.all(self._look)
        return positions - self._drawn.positions, rows - self._drawn.rows


async def _whole(connecting: Coroutine[Any, Any, Connection]) -> Connection:
    """A handshake that is broken off leaves an error behind that nobody looks at: it goes on to its end."""
    task = asyncio.ensure_future(connecting)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if task.exception() is None:
            await end(task.result())
        raise


def _setting(event: asyncio.Event) -> Callable[[object], None]:
    return lambda _: event.set()
