"""The fleet's host, on real servers."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import psutil  # type: ignore[import-untyped]
import pytest

from colonnade.discovery import Address
from colonnade.discovery.files import LOOK_SECONDS
from colonnade.presentation.upstream import Upstream, UpstreamAnswer
from colonnade.system.admin.evidence import open_to_read
from colonnade.system.hosts.data_directory import DataDirectoryInUse
from colonnade.system.hosts.fleet import watching
from colonnade.system.hosts.fleet.host import FleetHost, FleetSettings, ServingFleet
from colonnade.system.hosts.fleet.managed import Managed, State
from colonnade.system.hosts.fleet.settings import BrokerKind
from colonnade.system.hosts.servers.child import ServerFailed
from colonnade.system.hosts.servers.nats import NatsServer
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.system.hosts.servers.valkey import ValkeyServer
from colonnade.world import real_world
from tests.example.bakery.system import bakery
from tests.servers.debian import skipped_where_missing
from tests.servers.running import own_folder

WORLD = real_world()
WITHIN_SECONDS = 50.0
TARGET = "tests.example.bakery.system:bakery"


@dataclass
class Fleet:
    """A fleet that runs in the test's process, and what it told."""

    host: FleetHost
    port: int
    history: list[tuple[str, State]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def told(self, managed: Managed) -> None:
        """Note a change."""
        self.history.append((managed.name, managed.state))
        self.changed.set()

    def managed(self, name: str) -> Managed:
        """One of its parts."""
        return next(each for each in self.host.running if each.name == name)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a state."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def request(
        self, method: str, target: str, body: bytes = b"", headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> UpstreamAnswer:
        """Ask the gateway."""
        upstream = Upstream("gateway", Address("127.0.0.1", self.port))
        try:
            return await upstream.request(method, target.encode(), headers, body)
        finally:
            upstream.close()

    async def bake(self) -> str:
        """Order bread, as a customer does who asks again while there is no answer; the batch."""
        key = str(WORLD.ids.new()).encode()
        headers = [(b"content-type", b"application/json"), (b"idempotency-key", key)]
        async with asyncio.timeout(WITHIN_SECONDS):
            while (
                answer := await self.request("POST", "/api/baking/batches", b'{"loaves":12}', headers)
            ).status >= 500:
                await WORLD.sleep(0.05)
        assert answer.status == 201
        batch: str = msgspec.json.decode(answer.body)["id"]
        return batch


@asynccontextmanager
async def running(settings: FleetSettings) -> AsyncIterator[Fleet]:
    """A fleet that is ready; stopped in order at the end."""
    ready = asyncio.Event()

    def is_ready(_: ServingFleet) -> None:
        ready.set()

    def told(managed: Managed) -> None:
        fleet.told(managed)

    host = FleetHost(bakery, settings, WORLD, ready=is_ready, stopping=lambda: None, changed=told)
    fleet = Fleet(host, settings.port)
    serving = asyncio.create_task(host.run())
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait([serving, waiting], timeout=WITHIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        assert ready.is_set()
        yield fleet
    finally:
        waiting.cancel()
        host.stop()
        await serving


async def test_a_fleet_starts_takes_orders_survives_kills_and_leaves_nothing() -> None:
    """Processes of services and servers that are killed come again, and what was accepted is carried out."""
    with own_folder("fleet") as folder:
        async with running(FleetSettings(TARGET, folder, port=free_port())) as fleet:
            names = ["postgresql", "nats", "valkey", *(service.name for service in bakery.services), "gateway"]
            assert [managed.name for managed in fleet.host.running] == names
            assert {managed.state for managed in fleet.host.running} == {State.READY}
            assert (await fleet.request("GET", "/health/ready")).status == 200
            baked = [await fleet.bake()]
            for name in ("baking", "selling", "nats", "valkey", "postgresql"):
                managed = fleet.managed(name)
                pid = managed.runnable.child.pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await fleet.until(_back(managed, pid))
                assert managed.restarts >= 1
                baked.append(await fleet.bake())
            await stocked(folder, baked)
            pids = [managed.runnable.child.pid for managed in fleet.host.running]
        assert not [pid for pid in pids if pid is not None and psutil.pid_exists(pid)]
        assert {managed.state for managed in fleet.host.running} == {State.STOPPED}


async def stocked(folder: Path, batches: list[str]) -> None:
    """Wait until the other service has all of them on its shelves, each once."""
    async with open_to_read(folder, ["selling"], WORLD) as stores:
        async with asyncio.timeout(WITHIN_SECONDS):
            while len(shelves := await stores["selling"].log.streams("Shelf", limit=10_000)) < len(batches):
                await WORLD.sleep(0.05)
        assert shelves == sorted(f"Shelf/{batch}" for batch in batches)
        assert len(await stores["selling"].log.read(0, 10_000)) == len(batches)


def _back(managed: Managed, pid: int) -> Callable[[], bool]:
    return lambda: managed.state is State.READY and managed.runnable.child.pid not in (None, pid)


async def test_servers_that_are_there_are_used(
    postgres: PostgresServer, nats: NatsServer, valkey: ValkeyServer, tmp_path: Path
) -> None:
    """None of its own is started then."""
    settings = FleetSettings(
        TARGET, tmp_path, port=free_port(), postgres=postgres.url(), broker_url=nats.url, valkey=valkey.url
    )
    async with running(settings) as fleet:
        assert [each.name for each in fleet.host.running] == [*(each.name for each in bakery.services), "gateway"]
        assert (await fleet.request("GET", "/health/ready")).status == 200


@pytest.mark.timeout(120)
@pytest.mark.parametrize("broker", [BrokerKind.RABBITMQ, BrokerKind.KAFKA])
async def test_messages_take_the_broker_that_is_asked_for(
    broker: BrokerKind, postgres: PostgresServer, valkey: ValkeyServer, tmp_path: Path
) -> None:
    """It is started like the other servers, and no service knows which it is."""
    settings = FleetSettings(
        TARGET, tmp_path, port=free_port(), postgres=postgres.url(), broker=broker, valkey=valkey.url
    )
    with skipped_where_missing():
        async with running(settings) as fleet:
            assert fleet.host.running[0].name == broker
            baked = {f"Shelf/{await fleet.bake()}" for _ in range(3)}
            async with open_to_read(tmp_path, ["selling"], WORLD) as stores, asyncio.timeout(WITHIN_SECONDS):
                while not baked <= {*await stores["selling"].log.streams("Shelf", limit=10_000)}:
                    await WORLD.sleep(0.05)
            pids = [managed.runnable.child.pid for managed in fleet.host.running]
    assert not [pid for pid in pids if pid is not None and psutil.pid_exists(pid)]


async def test_a_fleet_that_cannot_start_says_why(nats: NatsServer, valkey: ValkeyServer, tmp_path: Path) -> None:
    """Nothing is left of it."""
    away = f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"
    settings = FleetSettings(TARGET, tmp_path, port=free_port(), postgres=away, broker_url=nats.url, valkey=valkey.url)
    with pytest.raises(ServerFailed, match=r"PostgreSQL failed: no database bakery_.* could be made"):
        async with running(settings):
            pass


async def test_one_fleet_owns_a_data_directory(
    postgres: PostgresServer, nats: NatsServer, valkey: ValkeyServer, tmp_path: Path
) -> None:
    """A second one is refused, with the process that has it."""
    settings = FleetSettings(
        TARGET, tmp_path, port=free_port(), postgres=postgres.url(), broker_url=nats.url, valkey=valkey.url
    )
    async with running(settings):
        with pytest.raises(DataDirectoryInUse):
            async with running(replace(settings, port=free_port())):
                pass


@pytest.mark.timeout(240)
async def test_instances_share_their_service_and_are_replaced_without_a_failed_request(
    postgres: PostgresServer, nats: NatsServer, valkey: ValkeyServer, tmp_path: Path
) -> None:
    """Two of each, one killed, then all replaced one after the other under load: each batch is sold once."""
    settings = FleetSettings(
        TARGET,
        tmp_path,
        port=free_port(),
        postgres=postgres.url(),
        broker_url=nats.url,
        valkey=valkey.url,
        replicas={"baking": 2, "selling": 2},
    )
    async with running(settings) as fleet:
        names = ["baking-1", "baking-2", "selling-1", "selling-2", "gateway"]
        assert [managed.name for managed in fleet.host.running] == names
        baked = [await fleet.bake() for _ in range(4)]
        for name in ("baking-1", "selling-2"):
            managed = fleet.managed(name)
            pid = managed.runnable.child.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            baked.append(await fleet.bake())
            await fleet.until(_back(managed, pid))
        before = {managed.runnable.child.pid for managed in fleet.host.running}
        services = [managed for managed in fleet.host.running if managed.name != "gateway"]
        os.kill(os.getpid(), signal.SIGUSR2)
        headers = [(b"content-type", b"application/json")]
        while any(each.runnable.child.pid in before or each.state is not State.READY for each in services):
            answer = await fleet.request("POST", "/api/baking/batches", b'{"loaves":12}', headers)
            assert answer.status == 201, answer
            baked.append(msgspec.json.decode(answer.body)["id"])
            await WORLD.sleep(0.05)  # starting processes need the machine too
        assert fleet.managed("gateway").runnable.child.pid in before
        await stocked(tmp_path, baked)


@pytest.mark.timeout(240)
async def test_an_instance_that_hangs_gets_no_requests_and_in_the_end_an_end(
    postgres: PostgresServer, nats: NatsServer, valkey: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs, but does not answer; when it does again it gets requests again, and else it is started anew."""
    settings = FleetSettings(
        TARGET,
        tmp_path,
        port=free_port(),
        postgres=postgres.url(),
        broker_url=nats.url,
        valkey=valkey.url,
        replicas={"baking": 2},
    )
    async with running(settings) as fleet:
        hanging = fleet.managed("baking-1")
        pid = hanging.runnable.child.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await fleet.until(lambda: hanging.state is State.UNREADY)
        await WORLD.sleep(LOOK_SECONDS)
        for _ in range(4):
            await fleet.bake()
        os.kill(pid, signal.SIGCONT)
        await fleet.until(lambda: hanging.state is State.READY)
        assert (hanging.runnable.child.pid, hanging.restarts) == (pid, 0)
        monkeypatch.setattr(watching, "SILENT_LOOKS", 1)
        os.kill(pid, signal.SIGSTOP)
        await fleet.until(_back(hanging, pid))
        assert hanging.restarts == 1
