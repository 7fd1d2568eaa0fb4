"""Silence is never health: what hinders Grocer's fleet is provoked on real servers, and named in its stated time."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import msgspec
import pytest
from colonnade.brokers.broker import Carried
from colonnade.brokers.nats import connect_to_nats
from colonnade.messages.envelope import Envelope
from colonnade.system.admin.evidence import read_evidence
from colonnade.system.hosts.fleet.engines import LEASE_SECONDS
from colonnade.workers import holes, horizon, ownership, timers
from colonnade.world import real_world
from grocer.tests.chaos.fleet import Fleet, running
from grocer.tests.releases import NEXT, release, releases
from tests.gateway.scraping import states_in
from tests.servers.running import own_folder

from grocer.payments.infrastructure.http_processor import ANSWER_WITHIN_SECONDS, FOUND_WITHIN_SECONDS

WORLD = real_world()

INTO = "inventory.commands"

PROBE_EVERY_SECONDS = 0.2

NEWER = {
    "ordering/application/fulfilment.py": [
        ('undo in reverse when a step fails."""\n',
         'undo in reverse when a step fails."""\n\n    version = oldest_version = 2\n'),
    ],
}  # fmt: skip
"""The next version has no place for instances of the saga that began before it."""

NAMED_WITHIN: Mapping[str, float] = {
    "delivery.horizon": horizon.HELD_SECONDS + horizon.LOOK_EVERY_SECONDS,
    "notifications.clock": timers.CLOCK_TOLERANCE_SECONDS,
    "ordering.projection.OrderHistory": 5.0,
    "payments.failing": ANSWER_WITHIN_SECONDS + FOUND_WITHIN_SECONDS + 2.0,
    "payments.late": 60.0,
    "ordering.saga.FulfilOrder": 1.0,
    "catalog.unowned": LEASE_SECONDS + ownership.UNOWNED_SECONDS + ownership.LOOK_EVERY_SECONDS,
    "inventory.hole": holes.HOLE_SECONDS + 2.0,
    "ordering.relay.inventory.commands": 10.0,
}
"""Seconds from the fault to the state, by the state's name."""


class Watch:
    """Asks the services how they are until each state that is waited for has been told."""

    def __init__(self, fleet: Fleet, session: aiohttp.ClientSession) -> None:
        self._fleet = fleet
        self._session = session
        self.took: dict[str, float] = {}

    async def named(self, name: str, since: float) -> str:
        """Return when the state is told, what it says; fails when somebody who asks after its time is not told."""
        service, within = name.partition(".")[0], NAMED_WITHIN[name]
        while True:
            asked = WORLD.clock.monotonic() - since
            details = await self._states(service)
            if name in details:
                assert name in await self._metrics(service)
                self.took[name] = asked
                return details[name]
            assert asked <= within, f"{name} was not named within {within:.1f} s, but {sorted(details)}"
            await asyncio.sleep(PROBE_EVERY_SECONDS)

    async def _states(self, service: str) -> Mapping[str, str]:
        url = f"http://127.0.0.1:{self._fleet.port}/api/{service}/health/ready"
        async with self._session.get(url) as answer:
            report = msgspec.json.decode(await answer.read())
        return {state["name"]: state["detail"] for state in report["states"]}

    async def _metrics(self, service: str) -> Collection[str]:
        async with self._session.get(f"http://127.0.0.1:{self._fleet.port}/api/{service}/metrics") as answer:
            return {state for state, _ in states_in(await answer.text())}


@pytest.mark.proof
@pytest.mark.timeout(600)
async def test_what_hinders_a_fleet_is_named_within_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A forgotten transaction, a clock that jumps, a poison event, a hole, a broker away, work that never ends, and a
    saga that the code has no place for any more.
    """
    with own_folder("silence") as folder:
        code = releases(folder, NEWER)
        async with running(folder, WORLD, {}, code) as fleet, aiohttp.ClientSession() as session:
            watch = Watch(fleet, session)
            await _order(fleet, session)
            async with asyncio.TaskGroup() as group:
                for provoke in (_horizon, _clock, _poison, _hole, _leases):
                    group.create_task(provoke(fleet, watch))
                group.create_task(_processor_hangs(fleet, watch, session))
            await _broker_is_away(fleet, watch, session)
        with capsys.disabled():
            for name, seconds in watch.took.items():
                print(f"\n  {name}: named after {seconds:.1f} s, stated {NAMED_WITHIN[name]:.0f} s", end="")
            print(flush=True)
        assert watch.took.keys() == NAMED_WITHIN.keys()


async def _horizon(fleet: Fleet, watch: Watch) -> None:
    async with _database(fleet, "delivery") as connection:
        since = WORLD.clock.monotonic()
        await connection.execute("BEGIN; SELECT public.draw_positions(1)")
        told = await watch.named("delivery.horizon", since)
        assert f"process {connection.get_server_pid()} " in told
        await connection.execute("ROLLBACK")


async def _leases(fleet: Fleet, watch: Watch) -> None:
    """Somebody has locked the row by which the only instance would hold its timers."""
    async with _database(fleet, "catalog") as connection:
        since = WORLD.clock.monotonic()
        await connection.execute("BEGIN; SELECT FROM public.leases WHERE name = 'timers' FOR UPDATE")
        assert "timers" in await watch.named("catalog.unowned", since)
        await connection.execute("ROLLBACK")


async def _clock(fleet: Fleet, watch: Watch) -> None:
    file = fleet.clocks / str(fleet.pids["notifications"])
    since = WORLD.clock.monotonic()
    file.write_text("-3600")
    assert "-3600" in await watch.named("notifications.clock", since)
    file.unlink()


async def _poison(fleet: Fleet, watch: Watch) -> None:
    async with _database(fleet, "ordering") as connection:
        since = WORLD.clock.monotonic()
        await connection.execute(
            """
            INSERT INTO public.events
            SELECT drawn[1], 'Order/poison', 1, gen_random_uuid(), 'ordering.OrderPlaced', 1, '{"order_id"', 0,
                gen_random_uuid(), NULL, NULL
            FROM public.draw_positions(1) AS drawn
            """
        )
        await watch.named("ordering.projection.OrderHistory", since)


async def _hole(fleet: Fleet, watch: Watch) -> None:
    """A message of a producer that knows nothing of the one before it."""
    broker = await connect_to_nats(_nats(fleet), WORLD, prefix="grocer")
    try:
        since = WORLD.clock.monotonic()
        places = ((10, 0), (30, 20))
        messages = [Carried("catalog", UUID(int=7), INTO, 0, seq, before, "a", _stray(seq)) for seq, before in places]
        await broker.publish(messages)
        assert "from catalog on inventory.commands/0 after 10" in await watch.named("inventory.hole", since)
    finally:
        await broker.close()


def _stray(number: int) -> bytes:
    """A message that nobody waits for."""
    return Envelope(
        specversion="1.0",
        id=UUID(int=number),
        source="catalog",
        type="catalog.Stray",
        subject="a",
        time=WORLD.clock.now(),
        data=msgspec.Raw(b"{}"),
        correlationid=UUID(int=number),
    ).encode()


async def _processor_hangs(fleet: Fleet, watch: Watch, session: aiohttp.ClientSession) -> None:
    """Charges are asked for again and again; the saga that waits for one meets code of the next version meanwhile."""
    assert fleet.processor is not None
    os.kill(fleet.processor, signal.SIGSTOP)
    try:
        since = WORLD.clock.monotonic()
        await _order(fleet, session)
        await watch.named("payments.failing", since)
        async with _database(fleet, "payments") as connection:
            sent_at = await connection.fetchval("SELECT min(sent_at) FROM public.inbox")
        sent = WORLD.clock.monotonic() - (WORLD.clock.micros() - sent_at) / 1_000_000
        release(fleet.folder, NEXT)
        await fleet.command("replace", "ordering")
        told = await watch.named("ordering.saga.FulfilOrder", WORLD.clock.monotonic())
        assert "began with version 1, which is retired" in told
        assert (await watch.named("payments.late", sent)).startswith("A message of Payment/")
    finally:
        os.kill(fleet.processor, signal.SIGCONT)


async def _broker_is_away(fleet: Fleet, watch: Watch, session: aiohttp.ClientSession) -> None:
    way = fleet.servers["nats"].way
    way.cut()
    try:
        since = WORLD.clock.monotonic()
        await _order(fleet, session)
        await watch.named("ordering.relay.inventory.commands", since)
    finally:
        way.mend()


async def _order(fleet: Fleet, session: aiohttp.ClientSession) -> None:
    line = {"product_id": 9_859_128, "quantity": 1}
    body = {"customer_id": str(UUID(int=40)), "store_id": 340, "lines": [line]}
    base = f"http://127.0.0.1:{fleet.port}/api"
    shelves = {"levels": [{**line, "quantity": 1_000}]}
    async with session.post(f"{base}/inventory/stores/340/restocking", json=shelves) as answer:
        assert answer.status < 300, await answer.text()
    async with session.post(f"{base}/ordering/orders", json=body) as answer:
        assert answer.status == 201, await answer.text()


def _nats(fleet: Fleet) -> str:
    """Not by the way that can be cut."""
    server = fleet.servers["nats"].server
    return f"nats://{server.host}:{server.port}"


@asynccontextmanager
async def _database(fleet: Fleet, service: str) -> AsyncIterator[Any]:
    addresses = read_evidence(fleet.data)
    assert addresses is not None
    connection = await asyncpg.connect(addresses[service])
    try:
        yield connection
    finally:
        await connection.close()
