"""Grocer under kill -9 while `grocer shop` plays the day: nothing is lost, nothing happens twice."""

import asyncio
import os
import random
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Any

import msgspec
import pytest

KILLS = 20
SPEED = 1_100
"""The day in 80 seconds, so that the kills fall among its customers."""
SEED = 7
BASKETS = 645


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def host(data: Path, port: int) -> Process:
    """The host of Grocer as a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "colonnade.cli", "up", "grocer.system:grocer", "--port", str(port), "--data", str(data),
        stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL,
    )  # fmt: skip


async def ready(process: Process) -> None:
    """Return when a host says where its data is, as it does when it answers."""
    assert process.stdout is not None
    while b"stop" not in (line := await process.stdout.readline()):
        assert line, "the host ended before it was ready"


async def customers(data: Path, port: int, *options: str) -> Process:
    """`grocer shop` as a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from grocer.shop.cli import main; main()", "shop", "--run", "kills", "--json",
        "--url", f"http://127.0.0.1:{port}", *options,
        stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=os.environ | {"COLONNADE_DATA": str(data)},
    )  # fmt: skip


async def told(shop: Process) -> Any:
    """What a run of customers came to; that it ends with 0 says that no law is broken and everything has settled."""
    output, errors = await shop.communicate()
    assert shop.returncode == 0, (output + errors).decode()
    return msgspec.json.decode(output)


@pytest.mark.proof
async def test_a_killed_host_loses_no_order_and_doubles_none(tmp_path: Path) -> None:
    """Killed with -9 twenty times while the day is played: every basket is accounted for, and every law holds."""
    chance = random.Random(SEED)  # noqa: S311 - when to kill
    port = free_port()
    started = [await host(tmp_path, port)]
    await ready(started[-1])
    shop = await customers(tmp_path, port, "--speed", str(SPEED))
    assert shop.stderr is not None
    try:
        assert await shop.stderr.readline() == b"run kills\n"
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(1.5, 3.5))
            assert shop.returncode is None, "the customers were done before the kills were"
            started[-1].kill()
            await started[-1].wait()
            started.append(await host(tmp_path, port))
        played = await told(shop)
        orders = sum(each["count"] for each in played["orders"].values())
        assert orders + sum(each["count"] for each in played["refusals"]) == BASKETS
        assert played["unanswered"] == []
        assert played["retries"] > 0
        assert set(played["orders"]) == {"confirmed", "rejected"}
        assert played["laws"]["orders"] == played["laws"]["orders_settled"] == orders
        again = await told(await customers(tmp_path, port, "--speed", "max"))
        assert again["orders"] == played["orders"]
        assert again["laws"]["orders"] == orders
        started[-1].terminate()
        assert await started[-1].wait() == 0
    finally:
        for process in (shop, *started):
            if process.returncode is None:
                process.kill()
                await process.wait()
