"""Grocer's fleet, two instances of each service, started anew under load: by the same code, by newer and by older."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import aiohttp
import msgspec
import pytest
from colonnade.system.admin.evidence import open_to_read
from colonnade.system.admin.operations import ReplaceInstances
from colonnade.system.admin.reports import Finished
from colonnade.system.admin.socket import ask_host
from colonnade.system.hosts.fleet.host import FleetSettings
from colonnade.system.hosts.servers.ports import free_port
from colonnade.world import real_world
from grocer.tests.releases import NEXT, NOW, release, releases
from tests.fleet.fleets import running
from tests.servers.running import own_folder

from grocer.shop.day import Basket, load_day
from grocer.system import grocer

WORLD = real_world()
INSTANCES = 2

CUSTOMERS = 2
PAUSE_SECONDS = 0.5
"""Between two requests of a customer: on two cores sixteen processes must also have time to start."""

LONGEST_SECONDS = 2.0
SETTLED_WITHIN_SECONDS = 60.0

NEWER = {
    "ordering/contracts.py": [
        ("    lines: tuple[OrderLine, ...]\n    total: Money\n\n\nclass OrderConfirmed",
         '    lines: tuple[OrderLine, ...]\n    total: Money\n    channel: str = "unknown"\n\n\nclass OrderConfirmed'),
    ],
    "ordering/domain/order.py": [("tuple(lines), total_of(lines)))", 'tuple(lines), total_of(lines), channel="web"))')],
}  # fmt: skip
"""What the next version writes otherwise: its events say by which way an order came."""


class Bodies:
    """The day's baskets as orders, one after the other."""

    def __init__(self) -> None:
        self._baskets: Iterator[Basket] = cycle(basket for basket in load_day().baskets if basket.lines)

    def next(self) -> tuple[Basket, bytes]:
        """The next basket, and the order that it becomes."""
        basket = next(self._baskets)
        lines = [{"product_id": line.product_id, "quantity": line.quantity} for line in basket.lines]
        order = {"customer_id": basket.customer_id, "store_id": basket.store_id, "lines": lines}
        return basket, msgspec.json.encode(order)


@dataclass
class Load:
    """Requests to all services, each made once: how they were answered, and how long that took."""

    url: str
    bodies: Bodies
    failed: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    orders: list[str] = field(default_factory=list)

    async def customer(self, session: aiohttp.ClientSession) -> None:
        """Order a basket and look at what became of it, until cancelled."""
        while True:
            basket, body = self.bodies.next()
            created, token = await self._ask(session, "POST", "ordering/orders", 201, body=body)
            if created is not None:
                order = created["id"]
                self.orders.append(order)
                await self._ask(session, "GET", f"ordering/orders/{order}", 200, token=token)
                await self._ask(session, "GET", f"payments/payments?order_id={order}", 200)
                await self._ask(session, "GET", f"delivery/shipments?order_id={order}", 200)
            product = basket.lines[0].product_id
            # Two of a hundred lines of the day have never reached their store
            await self._ask(session, "GET", f"inventory/stores/{basket.store_id}/stock/{product}", 200, 404)
            await self._ask(session, "GET", f"catalog/products/{product}", 200)

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        *expected: int,
        body: bytes | None = None,
        token: str | None = None,
    ) -> tuple[dict[str, str] | None, str | None]:
        await WORLD.sleep(PAUSE_SECONDS)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token is not None:
            headers["Colonnade-Token"] = token
        started = WORLD.clock.monotonic()
        try:
            async with session.request(method, f"{self.url}/api/{path}", data=body, headers=headers) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failed.append(f"{method} {path}: {type(error).__name__} {error}")
            return None, None
        took = WORLD.clock.monotonic() - started
        self.seconds.append(took)
        self.statuses[response.status] += 1
        if response.status not in expected or took > LONGEST_SECONDS:
            self.failed.append(f"{method} {path}: {response.status} after {took:.2f} s: {content[:300]!r}")
        if response.status not in expected:
            return None, None
        decoded: dict[str, str] = msgspec.json.decode(content)
        return decoded, response.headers.get("Colonnade-Token")


@asynccontextmanager
async def under_load(load: Load) -> AsyncIterator[None]:
    """Customers come while the block runs; it fails with what failed of their requests."""
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
        customers = [group.create_task(load.customer(session)) for _ in range(CUSTOMERS)]
        yield
        for customer in customers:
            customer.cancel()
    assert load.failed == []


@asynccontextmanager
async def card_processor(folder: Path) -> AsyncIterator[str]:
    """The card processor as a process of its own, as it is to two instances of payments; its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grocer.processor", "--ledger", str(folder / "card-processor.sqlite3"),
        stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield msgspec.json.decode(await process.stdout.readline())["address"]
    finally:
        process.stdin.close()
        await process.wait()


async def channels(data: Path, orders: list[str]) -> list[str | None]:
    """By which way each order came, as its first event says or does not."""
    async with open_to_read(data, ["ordering"], WORLD) as stores:
        found = []
        for order in orders:
            (placed,) = await stores["ordering"].log.stream(f"Order/{order}", limit=1)
            found.append(msgspec.json.decode(placed.data).get("channel"))
    return found


async def settled(url: str, orders: list[str]) -> Counter[str]:
    """How the orders have ended."""
    ended: Counter[str] = Counter()
    async with aiohttp.ClientSession() as session, asyncio.timeout(SETTLED_WITHIN_SECONDS):
        for order in orders:
            while True:
                async with session.get(f"{url}/api/ordering/orders/{order}") as response:
                    status = (await response.json())["status"]
                if status != "pending":
                    break
                await WORLD.sleep(0.1)
            ended[status] += 1
    return ended


@pytest.mark.proof
@pytest.mark.timeout(1_200)
async def test_a_rolling_restart_fails_no_request_nor_does_a_new_version_nor_the_way_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """None takes longer than two seconds either, and every order that was taken ends."""
    with own_folder("rolling") as folder:
        current = releases(folder, NEWER)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(current), os.environ.get("PYTHONPATH", "")]))
        async with card_processor(folder) as processor:
            monkeypatch.setenv("GROCER_CARD_PROCESSOR_URL", processor)
            replicas = {service.name: INSTANCES for service in grocer.services}
            settings = FleetSettings("grocer.system:grocer", folder / "data", port=free_port(), replicas=replicas)
            async with running(settings, ready_within=300.0):
                url = f"http://127.0.0.1:{settings.port}"
                orders: list[str] = []
                bodies = Bodies()
                for version, channel in ((NOW, None), (NEXT, "web"), (NOW, None)):
                    release(folder, version)
                    load = Load(url, bodies)
                    async with under_load(load):
                        *_, finished = await asyncio.to_thread(
                            lambda: list(ask_host(settings.data, ReplaceInstances()))
                        )  # fmt: skip
                        replaced = len(load.orders)
                        while len(load.orders) < replaced + 2 * CUSTOMERS:
                            await WORLD.sleep(0.1)
                    assert finished == Finished("All instances are replaced.", INSTANCES * len(grocer.services))
                    # Begun when all were of this version
                    assert set(await channels(settings.data, load.orders[replaced + CUSTOMERS :])) == {channel}
                    orders += load.orders
                    with capsys.disabled():
                        print(f"\nrolling to {version}: {told(load)}", flush=True)
                with capsys.disabled():
                    print(f"rolling: {len(orders)} orders ended: {dict(await settled(url, orders))}", flush=True)


def told(load: Load) -> str:
    """What it came to."""
    times = sorted(load.seconds)
    middle, high = (times[int(share * (len(times) - 1))] * 1_000 for share in (0.5, 0.99))
    return (
        f"{len(times)} requests, {len(load.failed)} failed, {dict(load.statuses)}; "
        f"p50 {middle:.0f} ms, p99 {high:.0f} ms, longest {times[-1] * 1_000:.0f} ms"
    )
