"""A Kafka (KRaft, one node) from its jars, on the machine's Java."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from struct import pack

from colonnade.system.hosts.servers.child import Child
from colonnade.system.hosts.servers.installed import installed, kafka_jars
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.server import HOST, Server, running
from colonnade.world import World

__all__ = ["KafkaServer", "kafka"]

# A small heap, and started as quickly as Java can
_JAVA = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

_SETTINGS = """
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={host}:{controller}
log.dirs={folder}
auto.create.topics.enable=false
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.cleaner.dedupe.buffer.size=4194304
"""

_METADATA, _METADATA_VERSION = 3, 4
_CORRELATION = 7
_NO_TOPICS = pack(">i?", 0, False)
_ONE_BROKER = pack(">i", 1)
_BROKERS = slice(8, 12)
"""In the answer, behind its correlation id and the milliseconds that it was throttled."""


class KafkaServer(Server):
    """One broker that is its own controller; its topics are kept in the folder and outlive `kill`."""

    def __init__(self, folder: Path, world: World, *, port: int) -> None:
        self._folder = folder.resolve()
        self._logs = self._folder / "logs"
        self._configuration = self._folder / "server.properties"
        self._controller = free_port()
        self._log = self._folder / "kafka.log"
        java = installed("Kafka", "java", "default-jre-headless")
        self._java = [str(java), *_JAVA, "-cp", f"{kafka_jars()}/*"]
        command = [*self._java, "kafka.Kafka", str(self._configuration)]
        super().__init__(Child("Kafka", command, self._log), port, world)

    @property
    def url(self) -> str:
        """Where clients ask first: host and port, for Kafka has no scheme."""
        return f"{self.host}:{self.port}"

    async def prepare(self) -> None:
        """Write its configuration, and format its folder once."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(
            _SETTINGS.format(host=HOST, port=self.port, controller=self._controller, folder=self._logs)
        )
        if not (self._logs / "meta.properties").exists():
            await self._format()

    async def answers(self) -> bool:
        """It tells of a cluster of one broker, which it does once it is unfenced, and the cluster is ours."""
        request = pack(">hhih", _METADATA, _METADATA_VERSION, _CORRELATION, -1) + _NO_TOPICS
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(pack(">i", len(request)) + request)
            answer = await reader.readexactly(int.from_bytes(await reader.readexactly(4)))
        finally:
            writer.close()
        return answer[_BROKERS] == _ONE_BROKER and self._cluster().encode() in answer

    def _cluster(self) -> str:
        written = (self._logs / "meta.properties").read_text()
        (name,) = (line for line in written.splitlines() if line.startswith("cluster.id="))
        return name.removeprefix("cluster.id=")

    async def _format(self) -> None:
        cluster = self._world.ids.new().hex[-22:]  # any 22 letters of base 64
        tool = [*self._java, "kafka.tools.StorageTool", "format", "--standalone"]
        formatting = Child("Kafka", [*tool, "-t", cluster, "-c", str(self._configuration)], self._log)
        await formatting.start()
        try:
            if await formatting.wait() != 0:
                raise formatting.failed("it could not format its folder")
        finally:
            await formatting.kill()  # when we are cancelled


@asynccontextmanager
async def kafka(folder: Path, world: World, *, port: int | None = None) -> AsyncIterator[KafkaServer]:
    """A Kafka on `folder`, as long as the block lasts; raises `NotInstalled`, `ServerFailed`."""
    server = KafkaServer(folder, world, port=port or free_port())
    async with running(server):
        yield server
