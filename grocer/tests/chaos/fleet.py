"""Grocer as a fleet in the way of faults: its servers stand behind ways that can be cut, its processes are known."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from colonnade.system.hosts.fleet.managed import Managed, State
from colonnade.system.hosts.servers.nats import SYNC_INTERVAL, NatsServer
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.system.hosts.servers.server import Server
from colonnade.system.hosts.servers.valkey import ValkeyServer
from colonnade.world import World
from tests.caching.cutting import Cut, cuttable

TARGET = "grocer.system:grocer"
READY_SECONDS = 120.0
STOP_SECONDS = 90.0


@dataclass
class Behind:
    """A server that is started again when it ends, and the way to it."""

    managed: Managed
    server: Server
    way: Cut

    @property
    def port(self) -> int:
        """Where clients find the way."""
        port = urlsplit(self.way.url).port
        assert port is not None
        return port

    def kill(self) -> bool:
        """End it with -9, and all that it has started; whether it ran."""
        pid = self.server.child.pid
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True


@dataclass
class Fleet:
    """The fleet's host as a process of its own, and what it tells of its children."""

    folder: Path
    port: int
    servers: dict[str, Behind]
    clocks: Path
    instances: Mapping[str, int]
    """How many each service has at first, where that is not one."""
    host: Process | None = None
    processor: int | None = None
    """The process of the card processor."""
    pids: dict[str, int] = field(default_factory=dict)
    """The processes that are ready, by name."""
    told: list[str] = field(default_factory=list)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def service_names(self) -> Sequence[str]:
        """The instances of services that are ready."""
        return [name for name in self.pids if name != "gateway"]

    async def command(self, *arguments: str) -> None:
        """Run a command of `colonnade` for this fleet; fails with what it said."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "colonnade.cli", *arguments, "--data", str(self.data),
            stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        output, errors = await process.communicate()
        assert process.returncode == 0, f"colonnade {' '.join(arguments)}: {(output + errors).decode()}"

    async def listen(self, output: asyncio.StreamReader) -> None:
        """Follow what the host says, line by line."""
        while line := (await output.readline()).decode().rstrip():
            self.told.append(line)
            name, _, state = line.partition(": ")
            if state.startswith("ready (process "):
                self.pids[name] = int(state.removeprefix("ready (process ").removesuffix(")"))
            elif name in self.pids and state:
                del self.pids[name]
            if "is up as a fleet" in line:
                self._ready.set()
        self._ready.set()

    async def until_up(self) -> None:
        """Wait until requests are answered."""
        async with asyncio.timeout(READY_SECONDS):
            await self._ready.wait()
        assert self.host is not None
        assert self.host.returncode is None, "\n".join(self.told)


@asynccontextmanager
async def running(
    folder: Path, world: World, instances: Mapping[str, int], code: Path | None = None
) -> AsyncIterator[Fleet]:
    """A fleet that is up, with so many instances of services; all of it is gone afterwards.

    Its processes begin with the Grocer in the folder `code`, where that is named.
    """
    clocks = folder / "clocks"
    clocks.mkdir()
    postgres = PostgresServer(folder / "postgresql", world, port=free_port(), connections=300, settings={})
    nats = NatsServer(folder / "nats", world, port=free_port(), sync_interval=SYNC_INTERVAL)
    valkey = ValkeyServer(folder / "valkey", world, port=free_port(), settings={})
    async with AsyncExitStack() as opened:
        servers = {}
        for name, server in (("postgresql", postgres), ("nats", nats), ("valkey", valkey)):
            managed = await opened.enter_async_context(_kept(Managed(name, server, world, lambda _: None)))
            servers[name] = Behind(managed, server, await opened.enter_async_context(cuttable(server)))
        fleet = Fleet(folder, free_port(), servers, clocks, instances)
        await opened.enter_async_context(_processor(fleet))
        await opened.enter_async_context(_host(fleet, postgres, code))
        yield fleet


@asynccontextmanager
async def _kept(managed: Managed) -> AsyncIterator[Managed]:
    await managed.start()
    keeping = asyncio.create_task(managed.keep_running())
    try:
        yield managed
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        if managed.state is not State.STOPPED:
            await managed.stop()


@asynccontextmanager
async def _processor(fleet: Fleet) -> AsyncIterator[None]:
    """The card processor, outside the fleet as a real one is: its address goes to the fleet by the environment."""
    fleet.data.mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grocer.processor", "--ledger", str(fleet.data / "card-processor.sqlite3"),
        stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    fleet.processor = process.pid
    assert process.stdout is not None
    try:
        address = msgspec.json.decode(await process.stdout.readline())["address"]
        (fleet.folder / "processor").write_text(address)
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def _host(fleet: Fleet, postgres: PostgresServer, code: Path | None) -> AsyncIterator[None]:
    way = fleet.servers
    url = postgres.url().replace(f":{postgres.port}/", f":{way['postgresql'].port}/")
    replicas = [
        option for service, number in fleet.instances.items() for option in ("--replicas", f"{service}={number}")
    ]
    fleet.host = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "colonnade.cli", "up", TARGET, "--fleet",
        "--port", str(fleet.port), "--data", str(fleet.data), *replicas,
        "--postgres", url, "--nats", f"nats://127.0.0.1:{way['nats'].port}",
        "--valkey", f"redis://127.0.0.1:{way['valkey'].port}",
        stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parent / "clock"), *([str(code)] if code else []), os.environ.get("PYTHONPATH", "")]
            ),
            "CHAOS_CLOCK": str(fleet.clocks),
            "GROCER_CARD_PROCESSOR_URL": (fleet.folder / "processor").read_text(),
        },
    )  # fmt: skip
    assert fleet.host.stdout is not None
    listening = asyncio.create_task(fleet.listen(fleet.host.stdout))
    try:
        await fleet.until_up()
        yield
    finally:
        if fleet.host.returncode is None:
            fleet.host.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await fleet.host.wait()
        except TimeoutError:
            fleet.host.kill()
            await fleet.host.wait()
        await listening
