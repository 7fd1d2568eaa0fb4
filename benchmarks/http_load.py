"""Requests over kept connections from this process, against a server in another, whose CPU is measured."""

import asyncio
import time
from collections import Counter

from benchmarks.measuring import Measured, cpu_seconds_of, peak_mb_of, percentiles

__all__ = ["ORDER", "measure_posts"]

CONNECTIONS = 32
WARM_SECONDS, SECONDS = 1.0, 3.0
ORDER = (
    b'{"customer_id":"00000000-0000-0000-0000-000000000040","store_id":340,"lines":['
    + b",".join(b'{"product_id":%d,"quantity":2}' % number for number in range(1_000_000, 1_000_005))
    + b"]}"
)


async def measure_posts(port: int, pid: int, path: str) -> Measured:
    """POST `ORDER` as fast as the server answers 201; raises `AssertionError` for any other answer."""
    request = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(ORDER)}\r\n\r\n"
    ).encode() + ORDER
    latencies: list[float] = []
    statuses = Counter[bytes]()

    async def one(until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - began)
            statuses[head[9:12]] += 1
        writer.close()
        await writer.wait_closed()

    async def for_seconds(seconds: float) -> None:
        until = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(one(until))

    await for_seconds(WARM_SECONDS)
    latencies.clear()
    started, cpu = time.perf_counter(), cpu_seconds_of(pid)
    await for_seconds(SECONDS)
    cpu, seconds = cpu_seconds_of(pid) - cpu, time.perf_counter() - started
    assert set(statuses) == {b"201"}, statuses
    p50, p99 = percentiles(latencies)
    return Measured(len(latencies), seconds, cpu, peak_mb=peak_mb_of(pid), p50_ms=p50, p99_ms=p99)
