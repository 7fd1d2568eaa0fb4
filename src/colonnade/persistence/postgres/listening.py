"""The listener of one instance: one connection, however many channels are heard on it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from colonnade.persistence.postgres.connections import Connection, connect, end
from colonnade.persistence.postgres.failures import DRIVER_ERRORS
from colonnade.world import World

__all__ = ["Listener"]

AGAIN_SECONDS = 1.0
"""How often it is tried to listen while that fails."""


class _Channel(NamedTuple):
    heard: Callable[[str], None]
    again: Callable[[], None]


class Listener:
    """Stays connected to the database at `url`, which is no pooler's, from the first channel on until it is closed."""

    def __init__(self, url: str, application: str, world: World) -> None:
        self._url = url
        self._name = f"{application} listener"
        self._world = world
        self._channels: dict[str, _Channel] = {}
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._adding = asyncio.Lock()

    @property
    def is_listening(self) -> bool:
        """Whether what is told is heard."""
        return self._connection is not None

    async def hear(self, channel: str, heard: Callable[[str], None], again: Callable[[], None]) -> None:
        """Call `heard` with what is told on `channel`, and `again` when it is heard again after it was not.

        Returns when it listens, or could not.
        """
        self._channels[channel] = _Channel(heard, again)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._listen())
            await self._tried.wait()
            return
        await self._tried.wait()
        async with self._adding:
            if self._connection is not None:
                try:
                    await self._connection.add_listener(channel, self._heard)
                except DRIVER_ERRORS:
                    self._connection.terminate()  # all are listened to again on the next

    def leave(self, channel: str) -> None:
        """Call nobody about `channel` any more."""
        self._channels.pop(channel, None)

    async def close(self) -> None:
        """Hear nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _listen(self) -> None:
        while True:
            async with AsyncExitStack() as open:
                try:
                    connection = await _whole(connect(self._url, {"application_name": self._name}))
                    open.push_async_callback(end, connection)
                    gone = asyncio.Event()
                    connection.add_termination_listener(_setting(gone))
                    async with self._adding:
                        for channel in self._channels:
                            await connection.add_listener(channel, self._heard)
                        self._connection = connection
                    if self._tried.is_set():
                        for each in list(self._channels.values()):
                            each.again()
                    self._tried.set()
                    await gone.wait()
                except DRIVER_ERRORS:
                    self._tried.set()
                    await self._world.sleep(AGAIN_SECONDS)
                finally:
                    self._connection = None

    def _heard(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        listener = self._channels.get(channel)
        if listener is not None:
            listener.heard(str(payload))


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
