"""How long a command takes on PostgreSQL when its service's log holds so many events already, in streams of ten.

One command at a time, each on another stream, which is in nobody's memory; as `benchmarks.unit_of_work_postgres`.

python -m benchmarks.postgres latency_by_events EVENTS
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from itertools import islice
from random import Random

import uvloop

from benchmarks.commanding import EVENTS_BEFORE, stream_id
from benchmarks.measuring import Measured, Stopwatch, tell
from benchmarks.postgres import Postgres
from benchmarks.unit_of_work_postgres import Receive, reservation, running, unheard
from colonnade.system.hosts.collecting import spare_what_stays

WARM_COMMANDS, COMMANDS = 100, 800
STREAMS_A_COMMAND, COMMANDS_TOGETHER = 50, 4


async def measure(events: int) -> Measured:
    postgres = Postgres()
    await postgres.assert_durable()
    name, seeded = f"latency_{events}", f"latency_{events}_seeded"
    streams = events // EVENTS_BEFORE
    if not await postgres.has(seeded):
        await fill(await postgres.make(name), streams)
        await postgres.keep(name, seeded)
    async with running(await postgres.make(name, seeded)) as system:
        spare_what_stays()  # as a host does
        numbers = iter(Random(events).sample(range(streams), WARM_COMMANDS + COMMANDS))
        for number in islice(numbers, WARM_COMMANDS):
            await system.execute(reservation(number, 1))
        watch = Stopwatch()
        with watch.running():
            for number in numbers:
                before = time.perf_counter()
                await system.execute(reservation(number, 1))
                watch.latencies.append(time.perf_counter() - before)
    return watch.of(COMMANDS)


async def fill(url: str, streams: int) -> None:
    """Streams of ten events each, written by commands that begin several."""
    async with running(url, unheard) as system:
        places = asyncio.Semaphore(COMMANDS_TOGETHER)

        async def receive(numbers: Sequence[int]) -> None:
            async with places:
                await system.execute(Receive([stream_id(number) for number in numbers], EVENTS_BEFORE))

        async with asyncio.TaskGroup() as group:
            for first in range(0, streams, STREAMS_A_COMMAND):
                group.create_task(receive(range(first, min(first + STREAMS_A_COMMAND, streams))))


if __name__ == "__main__":
    tell(uvloop.run(measure(int(sys.argv[1]))))
