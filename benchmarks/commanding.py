"""What the subjects of the unit of work on PostgreSQL have in common: streams of ten events, and how they are used."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from itertools import count
from uuid import UUID

from benchmarks.measuring import Measured, Stopwatch
from benchmarks.postgres import Postgres

__all__ = ["EVENTS_BEFORE", "SECONDS", "STREAMS", "WARM_SECONDS", "measured", "stream_id", "stream_numbers"]

STREAMS, EVENTS_BEFORE = 5_000, 10
"""Each command takes the next stream in turn: it is in nobody's memory when it comes round again."""

WARM_SECONDS, SECONDS = 0.3, 0.8


def stream_numbers() -> Iterator[int]:
    """The streams in turn."""
    return (number % STREAMS for number in count())


async def measured(postgres: Postgres, command: Callable[[int], Awaitable[object]], tasks: int) -> Measured:
    """Carry out commands, `tasks` of them at a time; the server's CPU is told as that of a child."""
    numbers, operations = stream_numbers(), 0

    async def work(until: float) -> None:
        nonlocal operations
        while time.perf_counter() < until:
            await command(next(numbers))
            operations += 1

    async def all_work(seconds: float) -> None:
        until = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(work(until))

    await postgres.assert_durable()
    await all_work(WARM_SECONDS)
    operations, watch = 0, Stopwatch()
    before = postgres.cpu_seconds()
    with watch.running():
        await all_work(SECONDS)
    watch.children_cpu_seconds = postgres.cpu_seconds() - before
    return watch.of(operations)


@cache
def stream_id(number: int) -> UUID:
    """The identity of the aggregate whose stream has this number."""
    return UUID(int=number + 1)
