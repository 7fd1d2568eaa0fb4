"""A RabbitMQ of Debian's package `rabbitmq-server`, as a node of its own beside any that the machine runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from colonnade.system.hosts.servers.child import Child
from colonnade.system.hosts.servers.installed import installed
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.server import HOST, START_SECONDS, Server, running
from colonnade.world import World

__all__ = ["RabbitMqServer", "rabbitmq"]

_NODE = "colonnade@localhost"
"""It names the folder of its data, which is to be found again on another port; no other node has its port mapper."""

_PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""The server itself: what stands in /usr/sbin changes to the user `rabbitmq`, whose folders are Debian's."""

_GREETING = b"AMQP\x00\x00\x09\x01"
_FRAME_HEADER_BYTES = 7
_LENGTH_BYTES = slice(3, 7)

_CLOSED_PROPERLY, _YES = slice(8, 12), (1).to_bytes(4)
"""In the head of a file of Erlang's dets."""

_LOOK_SECONDS = 0.05


class RabbitMqServer(Server):
    """One node and the port mapper (epmd) that it asks for; queues that are durable outlive `kill`."""

    def __init__(self, folder: Path, world: World, *, port: int) -> None:
        self._folder = folder.resolve()
        self._name = f"colonnade-{world.ids.new()}"
        self._configuration = self._folder / "rabbitmq.conf"
        mapper_port = free_port()
        epmd = installed("RabbitMQ", "epmd", "rabbitmq-server")
        self.mapper = Child("epmd", [str(epmd), "-address", HOST, "-port", str(mapper_port)], self._folder / "epmd.log")
        environment = {
            "HOME": str(self._folder),  # the cookie lies there
            "ERL_EPMD_PORT": str(mapper_port),
            "RABBITMQ_NODENAME": _NODE,
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self._configuration),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "nodes"),
            "RABBITMQ_LOG_BASE": str(self._folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self._folder / "rabbitmq.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none",  # an idle node leaves the cores to others
            "RUNNING_UNDER_SYSTEMD": "true",  # becomes the node instead of standing before it as a shell
        }
        program = installed("RabbitMQ", _PROGRAM, "rabbitmq-server")
        super().__init__(Child("RabbitMQ", [str(program)], self._folder / "rabbitmq.log", environment), port, world)

    @property
    def url(self) -> str:
        """Where clients connect, as the user whom every new node has."""
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    async def prepare(self) -> None:
        """Write its configuration, and start its port mapper."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(
            f"listeners.tcp.1 = {HOST}:{self.port}\n"
            f"cluster_name = {self._name}\n"
            "log.console.level = warning\n"
            "disk_free_limit.absolute = 50MB\n"
            "vm_memory_high_watermark.absolute = 512MB\n"
        )
        (self._folder / "enabled_plugins").write_text("[].\n")
        if not self.mapper.is_running:
            await self.mapper.start()

    async def stop(self) -> None:
        """Let the node finish, then end its port mapper."""
        await super().stop()
        await self.mapper.kill()  # it has nothing to finish, and refuses while it knows a node

    async def until_kept(self, queue: str) -> None:
        """Return when a kill no longer takes the quorum queue `queue` away.

        What it holds is on disk when it is confirmed; that it exists is written up to half a second after it was
        declared (ra's `names.dets`, auto_save). Killed before, the node comes back with a queue that nobody can read.
        """
        directory = self._folder / "nodes" / _NODE / "quorum" / _NODE / "names.dets"
        async with asyncio.timeout(START_SECONDS):
            while True:
                written = directory.read_bytes()
                if queue.encode() in written and written[_CLOSED_PROPERLY] == _YES:
                    return
                await self._world.sleep(_LOOK_SECONDS)

    async def answers(self) -> bool:
        """It greets (AMQP 0-9-1, connection.start), which it does once it has booted, and by its cluster's name."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(_GREETING)
            header = await reader.readexactly(_FRAME_HEADER_BYTES)
            return self._name.encode() in await reader.readexactly(int.from_bytes(header[_LENGTH_BYTES]))
        finally:
            writer.close()


@asynccontextmanager
async def rabbitmq(folder: Path, world: World, *, port: int | None = None) -> AsyncIterator[RabbitMqServer]:
    """A RabbitMQ on `folder`, as long as the block lasts; raises `NotInstalled`, `ServerFailed`."""
    server = RabbitMqServer(folder, world, port=port or free_port())
    async with running(server):
        yield server
