"""Grocer whole as a fleet, on PostgreSQL, NATS and Valkey: its baskets flat out over HTTP, to the end of every order.

The rate is that at which 95 of 100 of them end: the last wait for a card processor that gives no answer, for seconds,
however fast the shop is.

The CPU is that of all its processes, the servers' included, and told of each with its memory; not that of the
customers, nor of the card processor, which is a process of its own as it is in the world.

python -m benchmarks.fleet_orders [INSTANCES of ordering]
"""

import os
import pstats
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop
from grocer.shop.day import load_day

from benchmarks.baskets import WARM_BASKETS, customers
from benchmarks.measuring import (
    PROFILE_VARIABLE,
    Measured,
    Process,
    cpu_seconds_of,
    family_cpu_seconds_of,
    family_memory_mb_of,
    memory_mb_of,
    percentiles,
    tell,
)
from colonnade.system.admin.evidence import open_to_read
from colonnade.system.hosts.servers.ports import free_port
from colonnade.world import World

END_SHARE = 0.95
"""Of the orders, so many are waited for where their rate is told."""

HOST = "host"
SERVERS = {"postgresql", "nats", "valkey"}
"""Of these all that they have started counts too; what a service starts stands for the outside."""


async def measure(data: Path, pids: Mapping[str, int], port: int) -> Measured:
    baskets = load_day().baskets
    async with customers(data, port) as shop:
        await shop.play(baskets[:WARM_BASKETS], "warm")
        await shop.ended()
        started, before = time.time(), _cpu_seconds(pids)
        placed = await shop.play(baskets[WARM_BASKETS:], "bench")
        await shop.ended()
        after = _cpu_seconds(pids)
        last = await _end_of(END_SHARE, started, data, shop.world)
    processes = {name: Process(after[name] - before[name], _memory_mb(name, pid)) for name, pid in pids.items()}
    p50, p99 = percentiles([each.seconds for each in placed])
    cpu = sum(process.cpu_seconds for process in processes.values())
    return Measured(len(placed), (last - started) / END_SHARE, cpu, p50_ms=p50, p99_ms=p99, processes=processes)


async def _end_of(share: float, started: float, data: Path, world: World) -> float:
    """When this share of the orders that began after a moment had ended, by the log of their sagas."""
    async with open_to_read(data, ["ordering"], world) as stores:
        ends, after = [], 0
        while page := await stores["ordering"].log.read(after, 1_000, ["colonnade.SagaEnded"]):
            ends += [event.time / 1_000_000 for event in page if event.time / 1_000_000 > started]
            after = page[-1].position
    return sorted(ends)[int(share * len(ends)) - 1]


def _cpu_seconds(pids: Mapping[str, int]) -> Mapping[str, float]:
    return {name: (family_cpu_seconds_of if name in SERVERS else cpu_seconds_of)(pid) for name, pid in pids.items()}


def _memory_mb(name: str, pid: int) -> float:
    return family_memory_mb_of(pid) if name in SERVERS else memory_mb_of(pid)


@contextmanager
def fleet(data: str, replicas: Mapping[str, int]) -> Iterator[tuple[Mapping[str, int], int]]:
    """`colonnade up --fleet` as a process of its own: all its processes by name, and its port, once it answers."""
    command = [
        sys.executable, "-m", "colonnade.cli", "up", "grocer.system:grocer", "--fleet", "--port", str(free_port()),
        "--data", data, *(f"--replicas={service}={number}" for service, number in replicas.items()),
    ]  # fmt: skip
    silent: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with _profiles() as environment, subprocess.Popen(command, env=os.environ | environment, **silent) as process:
        assert process.stdout is not None
        pids, banner = {HOST: process.pid}, ""
        for line in process.stdout:
            banner += line
            if ready := re.match(r"(\S+): ready \(process (\d+)\)", line):
                pids[ready[1]] = int(ready[2])
            if found := re.search(r"http://\S+:(\d+)/health/ready", line):
                break
        else:
            raise RuntimeError(f"the fleet did not start: {banner}")
        reading = threading.Thread(target=process.stdout.read)  # so that it never waits for us to read
        reading.start()
        try:
            yield pids, int(found[1])
        finally:
            process.terminate()
            process.wait()
            reading.join()


@contextmanager
def _profiles() -> Iterator[Mapping[str, str]]:
    """Puts the profiles of all processes together, where one is asked for."""
    file = os.environ.get(PROFILE_VARIABLE)
    if file is None:
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(Path(__file__).parent / "fleet_profiling"), os.environ.get("PYTHONPATH", "")])
        yield {"COLONNADE_BENCH_PROFILES": folder, "PYTHONPATH": path.strip(os.pathsep)}
        pstats.Stats(*(str(each) for each in Path(folder).iterdir())).dump_stats(file)


if __name__ == "__main__":
    instances = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the servers run as somebody else where we are root
        with fleet(folder, {"ordering": instances}) as (pids, port):
            measured = uvloop.run(measure(Path(folder), pids, port))
    tell(measured)
