"""The fleet's host, on real servers."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest

from colonnade.system.admin.evidence import open_to_read
from colonnade.system.admin.operations import ScaleService
from colonnade.system.admin.reports import Finished
from colonnade.system.admin.socket import ask_host
from colonnade.system.hosts.data_directory import DataDirectoryInUse
from colonnade.system.hosts.fleet.host import FleetSettings
from colonnade.system.hosts.fleet.managed import State
from colonnade.system.hosts.fleet.settings import BrokerKind
from colonnade.system.hosts.servers.child import ServerFailed
from colonnade.system.hosts.servers.nats import NatsServer
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.system.hosts.servers.valkey import ValkeyServer
from tests.example.bakery.system import bakery
from tests.fleet.fleets import TARGET, WITHIN_SECONDS, WORLD, back, running, stocked
from tests.servers.debian import skipped_where_missing
from tests.servers.pgbouncer import pgbouncer
from tests.servers.running import own_folder


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
                await fleet.until(back(managed, pid))
                assert managed.restarts >= 1
                baked.append(await fleet.bake())
            await stocked(folder, baked)
            pids = [managed.runnable.child.pid for managed in fleet.host.running]
        assert not [pid for pid in pids if pid is not None and psutil.pid_exists(pid)]
        assert {managed.state for managed in fleet.host.running} == {State.STOPPED}


async def test_an_instance_starts_while_its_database_does() -> None:
    """Asked for the moment after the server was killed: its process waits until that is back."""
    with own_folder("fleet") as folder:
        async with running(FleetSettings(TARGET, folder, port=free_port())) as fleet:
            server = fleet.managed("postgresql")
            pid = server.runnable.child.pid
            assert pid is not None
            scaling = asyncio.create_task(asyncio.to_thread(lambda: list(ask_host(folder, ScaleService("baking", 2)))))
            await fleet.until(lambda: any(managed.name == "baking-2" for managed in fleet.host.running))
            os.kill(pid, signal.SIGKILL)
            assert isinstance((await scaling)[-1], Finished)
            await fleet.until(back(server, pid))
            await stocked(folder, [await fleet.bake()])


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


async def test_a_fleet_behind_a_pooler_only_listens_past_it(
    postgres: PostgresServer, nats: NatsServer, valkey: ValkeyServer, tmp_path: Path
) -> None:
    """Of all its connections the listener's alone goes to the server itself; messages reach the other services."""
    with own_folder("pgbouncer") as folder:
        async with pgbouncer(folder, WORLD, postgres, settings={"default_pool_size": "2"}) as pooler:
            settings = FleetSettings(
                TARGET,
                tmp_path,
                port=free_port(),
                postgres=pooler.url(),
                postgres_direct=postgres.url(),
                broker_url=nats.url,
                valkey=valkey.url,
            )
            async with running(settings) as fleet:
                baked = f"Shelf/{await fleet.bake()}"
                watcher = await asyncpg.connect(postgres.url())
                names = await watcher.fetch(_NAMES_OF_CONNECTIONS)
                await watcher.close()
                async with open_to_read(tmp_path, ["selling"], WORLD) as stores, asyncio.timeout(WITHIN_SECONDS):
                    while baked not in await stores["selling"].log.streams("Shelf", limit=10_000):
                        await WORLD.sleep(0.05)
    assert [name for (name,) in names if not name.endswith(" listener")] == ["colonnade-pooled"]
    assert len([name for (name,) in names if name.endswith(" listener")]) == 2


_NAMES_OF_CONNECTIONS = r"""
    SELECT DISTINCT regexp_replace(application_name, '^colonnade-pooled \S+$', 'colonnade-pooled') FROM pg_stat_activity
    WHERE datname LIKE 'bakery\_%' AND application_name <> ''
"""


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
