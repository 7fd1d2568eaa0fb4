"""Grocer's fleet over each broker: the day is accounted for, and no service knows which broker it was."""

import os
import re
import sys
import time
from asyncio import create_subprocess_exec
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from colonnade.system.hosts.fleet.brokers import broker_server
from colonnade.system.hosts.fleet.settings import BrokerKind
from colonnade.world import real_world
from grocer.tests.fleet.books import Written, written
from tests.servers.debian import skipped_where_missing
from tests.servers.running import own_folder

WORLD = real_world()
BASKETS = 645
ONE_BY_ONE = 40
"""So many baskets one shopper takes to the till: among them cards that are declined and goods that are out of stock."""

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1_200), pytest.mark.parametrize("broker", list(BrokerKind))]


@asynccontextmanager
async def grocer(data: Path, *options: str) -> AsyncIterator[str]:
    """Grocer with its data there, as a process of its own that is ready; its address."""
    with (data.parent / f"{data.name}.log").open("wb") as log:
        host = await create_subprocess_exec(
            sys.executable, "-m", "colonnade.cli", "up", "grocer.system:grocer", "--port", "0", "--data", str(data),
            *options, stdin=DEVNULL, stdout=PIPE, stderr=log,
        )  # fmt: skip
    assert host.stdout is not None
    try:
        shown = ""
        while (found := re.search(r"(http://\S+:\d+)/health/ready", shown)) is None:
            line = await host.stdout.readline()
            assert line, f"Grocer did not start: {shown}{Path(log.name).read_text()}"
            shown += line.decode()
        yield found[1]
        host.terminate()
        await host.communicate()  # what it still says must not fill the pipe
        assert host.returncode == 0
    finally:
        if host.returncode is None:
            host.kill()
            await host.communicate()


async def shopped(url: str, data: Path, *options: str) -> Any:
    """What a run of customers told; that it ends with 0 says that no law is broken and all has settled."""
    shop = await create_subprocess_exec(
        sys.executable, "-c", "from grocer.shop.cli import main; main()", "shop", "--json", "--run", "brokers",
        "--url", url, *options,
        stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=os.environ | {"COLONNADE_DATA": str(data)},
    )  # fmt: skip
    output, errors = await shop.communicate()
    assert shop.returncode == 0, (output + errors).decode()
    return msgspec.json.decode(output)


def fleet_on(broker: BrokerKind, folder: Path) -> tuple[str, ...]:
    """The options of a fleet; skips the test where its broker cannot be had."""
    with skipped_where_missing():
        broker_server(broker, folder, WORLD)
    return ("--fleet", "--broker", broker)


async def test_the_day_is_accounted_for(broker: BrokerKind, capsys: pytest.CaptureFixture[str]) -> None:
    """At full speed each of the 645 baskets is an order that ended or a refusal, and every law holds."""
    with own_folder("grocer") as folder:
        options = fleet_on(broker, folder)
        async with grocer(folder / "fleet", *options) as url:
            began = time.monotonic()
            told = await shopped(url, folder / "fleet", "--speed", "max")
            seconds = time.monotonic() - began
        orders = sum(each["count"] for each in told["orders"].values())
        assert orders + sum(each["count"] for each in told["refusals"]) == told["baskets"] == BASKETS
        assert told["unanswered"] == []
        assert set(told["orders"]) == {"confirmed", "rejected"}
        assert told["laws"]["holds"]
        assert told["laws"]["orders"] == told["laws"]["orders_settled"] == orders
        with capsys.disabled():
            print(f"\n{broker}: {BASKETS} baskets, {orders} orders in {seconds:.0f} s, laws held", flush=True)


async def test_one_shopper_finds_the_same_as_in_one_process(
    broker: BrokerKind, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who waits until each order is settled leaves the same orders, payments, shipments and goods behind."""

    async def shopped_alone(data: Path, *options: str) -> Written:
        async with grocer(data, *options) as url:
            await shopped(url, data, "--one-by-one", "--limit", str(ONE_BY_ONE))
            return await written(data, "brokers", WORLD)

    with own_folder("grocer") as folder:
        options = fleet_on(broker, folder)
        embedded = await shopped_alone(folder / "embedded")
        fleet = await shopped_alone(folder / "fleet", *options)
        assert len(embedded.orders) > ONE_BY_ONE / 2
        assert 0 < embedded.confirmed < len(embedded.orders)
        assert set(fleet.orders) == set(embedded.orders)
        assert [each for each in fleet.orders.items() if each not in embedded.orders.items()] == [
            each for each in embedded.orders.items() if each not in fleet.orders.items()
        ]
        assert fleet.goods == embedded.goods
        with capsys.disabled():
            orders, shelves = len(fleet.orders), len(fleet.goods)
            print(f"\n{broker}: {orders} orders ({fleet.confirmed} confirmed) and {shelves} shelves alike", flush=True)
