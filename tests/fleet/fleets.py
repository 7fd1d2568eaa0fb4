"""A fleet that runs in the test's process, and what is asked of it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from colonnade.cli.target import load_system
from colonnade.discovery import Address
from colonnade.presentation.upstream import Upstream, UpstreamAnswer
from colonnade.system.admin.evidence import open_to_read
from colonnade.system.hosts.fleet.host import FleetHost, FleetSettings, ServingFleet
from colonnade.system.hosts.fleet.managed import Managed, State
from colonnade.system.hosts.servers.nats import NatsServer
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.system.hosts.servers.valkey import ValkeyServer
from colonnade.world import real_world

WORLD = real_world()
WITHIN_SECONDS = 50.0
TARGET = "tests.example.bakery.system:bakery"
JSON = (b"content-type", b"application/json")

SettingsOf = Callable[[Mapping[str, int]], FleetSettings]


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
async def running(settings: FleetSettings, ready_within: float = WITHIN_SECONDS) -> AsyncIterator[Fleet]:
    """A fleet that is ready; stopped in order at the end."""
    ready = asyncio.Event()

    def is_ready(_: ServingFleet) -> None:
        ready.set()

    def told(managed: Managed) -> None:
        fleet.told(managed)

    host = FleetHost(load_system(settings.target), settings, WORLD, ready=is_ready, stopping=lambda: None, changed=told)
    fleet = Fleet(host, settings.port)
    serving = asyncio.create_task(host.run())
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait([serving, waiting], timeout=ready_within, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        assert ready.is_set()
        yield fleet
    finally:
        waiting.cancel()
        host.stop()
        await serving


async def stocked(folder: Path, batches: list[str]) -> None:
    """Wait until the other service has all of them on its shelves, each once."""
    async with open_to_read(folder, ["selling"], WORLD) as stores:
        async with asyncio.timeout(WITHIN_SECONDS):
            while len(shelves := await stores["selling"].log.streams("Shelf", limit=10_000)) < len(batches):
                await WORLD.sleep(0.05)
        assert shelves == sorted(f"Shelf/{batch}" for batch in batches)
        assert len(await stores["selling"].log.read(0, 10_000)) == len(batches)


def back(managed: Managed, pid: int) -> Callable[[], bool]:
    """Whether another process than `pid` is ready."""
    return lambda: managed.state is State.READY and managed.runnable.child.pid not in (None, pid)


@pytest.fixture
def settings_of(
    postgres: PostgresServer,
    nats: NatsServer,
    valkey: ValkeyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> SettingsOf:
    """Settings by numbers of instances, on servers there are, of a bakery with databases and streams of its own."""
    name = f"bakery_{WORLD.ids.new().hex}"
    (tmp_path / f"{name}.py").write_text(
        "from colonnade.system import System\n"
        "from tests.example.bakery.system import bakery\n"
        f'own = System("{name}", bakery.services)\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    def settings(replicas: Mapping[str, int]) -> FleetSettings:
        return FleetSettings(
            f"{name}:own",
            tmp_path / "data",
            port=free_port(),
            postgres=postgres.url(),
            broker_url=nats.url,
            valkey=valkey.url,
            replicas=replicas,
        )

    return settings
