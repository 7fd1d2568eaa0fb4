"""A way to a server that can be cut, and can hang, without harm to the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from colonnade.system.hosts.servers.server import Server

__all__ = ["Cut", "cuttable"]


class Cut:
    """Carries bytes between clients and a server."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._open = True
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    def cut(self) -> None:
        """Break all connections, and let no new one through."""
        self._open = False
        for writer in self._writers:
            writer.close()

    def hang(self) -> None:
        """Let nothing more through, and break nothing."""
        self._flowing.clear()

    def mend(self) -> None:
        """Be whole again."""
        self._open = True
        self._flowing.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            reached = await self._reach() if self._open else None
            if reached is None:
                return
            there, back = reached
            self._writers.add(back)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, back))
                    group.create_task(self._pump(there, writer))
            finally:
                back.close()
                self._writers.discard(back)
        finally:
            writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            return await asyncio.open_connection(*self._to)
        except OSError:  # the server is away: so is the way to it
            return None

    async def close(self) -> None:
        """End all."""
        self.cut()
        self._flowing.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self._flowing.wait()
                target.write(data)
                await target.drain()
        except OSError:
            return
        finally:
            target.close()


@asynccontextmanager
async def cuttable(server: Server) -> AsyncIterator[Cut]:
    """A way to `server`, whole to begin with."""
    cut = Cut(server.host, server.port)
    listener = await asyncio.start_server(cut.carry, "127.0.0.1", 0)
    cut.url = f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield cut
    finally:
        listener.close()
        await cut.close()
        await listener.wait_closed()
