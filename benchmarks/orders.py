"""Bar (c): Grocer whole, its 645 baskets flat out over HTTP, to the end of every order.

The CPU and memory are the host's; the card processor is a process of its own, as it is in the world.
python -m benchmarks.orders [--rebuild]
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from grocer.shop.day import load_day

from benchmarks.baskets import WARM_BASKETS, customers
from benchmarks.measuring import Measured, children_cpu_seconds_of, cpu_seconds_of, peak_mb_of, percentiles, tell
from benchmarks.post import host


async def measure(data: Path, pid: int, port: int, *, rebuild: bool) -> Measured:
    baskets = load_day().baskets
    async with customers(data, port) as shop:
        await shop.play(baskets[:WARM_BASKETS], "warm")
        await shop.ended()
        started, cpu, children_cpu = time.perf_counter(), cpu_seconds_of(pid), children_cpu_seconds_of(pid)
        rebuilding = asyncio.create_task(_rebuild(data)) if rebuild else None
        placed = await shop.play(baskets, "bench")
        if rebuilding is not None:
            rebuilding.cancel()
            await asyncio.wait([rebuilding])
        await shop.ended()
        seconds, cpu = time.perf_counter() - started, cpu_seconds_of(pid) - cpu
        children_cpu = children_cpu_seconds_of(pid) - children_cpu
    p50, p99 = percentiles([each.seconds for each in placed])
    return Measured(len(placed), seconds, cpu, children_cpu, peak_mb_of(pid), p50, p99)


async def _rebuild(data: Path) -> None:
    command = [sys.executable, "-m", "colonnade.cli", "projections", "rebuild"]
    while True:
        for service, projection in (("inventory", "StockLevels"), ("ordering", "OrderHistory")):
            process = await asyncio.create_subprocess_exec(
                *command, service, projection, "--data", str(data), stdout=subprocess.DEVNULL
            )
            try:
                if await process.wait():
                    raise RuntimeError(f"{service} {projection} could not be rebuilt")
            except asyncio.CancelledError:
                process.terminate()
                await process.wait()
                raise


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, host("grocer.system:grocer", folder) as (pid, port):
        measured = uvloop.run(measure(Path(folder), pid, port, rebuild="--rebuild" in sys.argv))
    tell(measured)
