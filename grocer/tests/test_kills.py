"""Grocer under kill -9: nothing is lost, nothing happens twice."""

import asyncio
import random
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from decimal import Decimal
from pathlib import Path

import aiohttp
import apsw
import msgspec
import pytest

from grocer.shop.day import Basket, load_day

KILLS = 20
ORDERS = 400
SHOPPERS = 4
PAUSE_SECONDS = 0.45
"""Between the orders of one shopper, so that they last as long as the kills."""
SEED = 7
SETTLED_WITHIN_SECONDS = 120


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def start(data: Path, port: int) -> Process:
    """The host of Grocer as a process of its own."""
    program = "from colonnade.cli import main; main()"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, "up", "grocer.system:grocer", "--port", str(port), "--data", str(data),
        stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL,
    )  # fmt: skip


async def place(session: aiohttp.ClientSession, basket: Basket) -> str:
    """The order of a basket, asked for with one key until it is answered."""
    body = {
        "customer_id": str(basket.customer_id),
        "store_id": basket.store_id,
        "lines": [{"product_id": line.product_id, "quantity": line.quantity} for line in basket.lines],
    }
    while True:
        try:
            async with session.post(
                "/api/ordering/orders", json=body, headers={"Idempotency-Key": f"kills/{basket.basket_id}"}
            ) as answer:
                if answer.status == 201:
                    return str((await answer.json())["id"])
                assert answer.status >= 500, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.2)


async def ends_of(session: aiohttp.ClientSession, ids: set[str]) -> Counter[str]:
    """How many orders have which status, once none is pending."""
    async with asyncio.timeout(SETTLED_WITHIN_SECONDS):
        while True:
            statuses: Counter[str] = Counter()
            for id in ids:
                async with session.get(f"/api/ordering/orders/{id}") as answer:
                    statuses[(await answer.json())["status"]] += 1
            if not statuses["pending"]:
                return statuses
            await asyncio.sleep(0.5)


def value(path: Path, sql: str) -> int:
    """One number from a database that nobody writes."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        number: int = connection.execute(sql).get
        return number
    finally:
        connection.close()


@pytest.mark.proof
async def test_a_killed_host_loses_no_order_and_doubles_none(tmp_path: Path) -> None:
    """Killed with -9 twenty times while customers order: every order is there once, has ended, and the books agree."""
    chance = random.Random(SEED)  # noqa: S311 - when to kill
    baskets = [basket for basket in load_day().baskets if basket.lines][:ORDERS]
    waiting = iter(baskets)
    port = free_port()
    host = await start(tmp_path, port)
    placed: list[str] = []
    kills_while_shopping = 0
    timeout = aiohttp.ClientTimeout(total=10)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as session:

            async def shop() -> None:
                for basket in waiting:
                    placed.append(await place(session, basket))
                    await asyncio.sleep(PAUSE_SECONDS)

            async with asyncio.TaskGroup() as shoppers:
                for _ in range(SHOPPERS):
                    shoppers.create_task(shop())
                for _ in range(KILLS):
                    await asyncio.sleep(chance.uniform(1.8, 3.5))
                    host.kill()
                    await host.wait()
                    host = await start(tmp_path, port)
                    kills_while_shopping += len(placed) < len(baskets)
            assert kills_while_shopping >= KILLS - 2
            assert len(set(placed)) == len(placed) == len(baskets)
            ends = await ends_of(session, set(placed))
        host.send_signal(signal.SIGTERM)
        assert await host.wait() == 0
    finally:
        if host.returncode is None:
            host.kill()
            await host.wait()
    assert set(ends) <= {"confirmed", "rejected", "pending"}
    assert_books_agree(tmp_path, len(baskets), ends["confirmed"])


def assert_books_agree(data: Path, orders: int, confirmed: int) -> None:
    """Each order and its saga are there once, each card is charged once, money and goods are all accounted for."""
    ordering, inventory = data / "ordering.sqlite3", data / "inventory.sqlite3"
    processor = data / "card-processor.sqlite3"
    count = "SELECT count(*) FROM events WHERE name = "
    assert value(ordering, f"{count}'ordering.OrderPlaced'") == orders
    assert value(ordering, f"{count}'colonnade.SagaEnded'") == orders
    assert value(ordering, f"{count}'ordering.OrderConfirmed'") == confirmed
    charged = "FROM charges WHERE status = 'succeeded'"
    assert value(processor, f"SELECT count(*) - count(DISTINCT reference) {charged}") == 0
    taken = Decimal(value(processor, f"SELECT coalesce(sum(cents - refunded_cents), 0) {charged}")) / 100
    connection = apsw.Connection(str(ordering), flags=apsw.SQLITE_OPEN_READONLY)
    sold = [data for (data,) in connection.execute("SELECT data FROM events WHERE name = 'ordering.OrderConfirmed'")]
    connection.close()
    assert taken == sum(Decimal(msgspec.json.decode(each)["total"]["amount"]) for each in sold)
    of_goods = "SELECT coalesce(sum(data ->> 'quantity'), 0) FROM events WHERE name = 'inventory.Goods"
    reserved, released, went = (value(inventory, f"{of_goods}{what}'") for what in ("Reserved", "Released", "Sold"))
    assert reserved == released + went > 0
    for service in ("ordering", "inventory", "payments", "delivery", "notifications"):
        assert value(data / f"{service}.sqlite3", "SELECT count(*) FROM inbox") == 0
