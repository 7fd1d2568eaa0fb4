"""A way to a PostgreSQL that breaks at one statement: before the server has it, or after it was carried out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum

from colonnade.system.hosts.servers.postgresql import PostgresServer

__all__ = ["Break", "Severed", "severed"]


class Break(Enum):
    """What becomes of the statement at which the connection breaks."""

    NOT_SENT = "the server never gets it"
    NOT_ANSWERED = "the server carries it out, and its answer is lost"
    LATE = "the server gets it when told to, though the client has gone"


class Severed:
    """Carries bytes between clients and the server; what it breaks is whole again for whoever connects next."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._at: tuple[bytes, Break] | None = None
        self._away = False
        self.broken = asyncio.Event()
        self.deliver = asyncio.Event()
        self.delivered = asyncio.Event()
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def at(self, sign: bytes, how: Break, *, away: bool = False) -> None:
        """Break the next connection that carries `sign` to the server; with `away`, let nobody connect afterwards."""
        self._at, self._away_then = (sign, how), away

    def mend(self) -> None:
        """Let clients connect again."""
        self._away = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if self._away:
                return
            there, back = await asyncio.open_connection(*self._to)
            answers = asyncio.create_task(_pump(there, writer))
            try:
                with suppress(OSError):
                    await self._requests(reader, there, writer, back, answers)
            finally:
                answers.cancel()
                await asyncio.wait([answers])
                back.close()
        finally:
            writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def close(self) -> None:
        """Break all connections."""
        self.deliver.set()
        for writer in self._writers:
            writer.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        there: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        answers: "asyncio.Task[None]",
    ) -> None:
        while data := await reader.read(65_536):
            if self._at is not None and self._at[0] in data:
                how, self._at = self._at[1], None
                answers.cancel()
                await asyncio.wait([answers])
                self._away = self._away_then
                if how is Break.NOT_ANSWERED:
                    back.write(data)
                    await there.read(1)
                writer.close()
                self.broken.set()
                if how is Break.LATE:
                    await self.deliver.wait()
                    back.write(data)
                    await there.read(1)
                    self.delivered.set()
                return
            back.write(data)
            await back.drain()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()


@asynccontextmanager
async def severed(server: PostgresServer) -> AsyncIterator[Severed]:
    """A way to `server`, whole to begin with."""
    way = Severed(server.host, server.port)
    listener = await asyncio.start_server(way.carry, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    way.url = server.url().replace(f":{server.port}/", f":{port}/")
    try:
        yield way
    finally:
        listener.close()
        await way.close()
        await listener.wait_closed()
