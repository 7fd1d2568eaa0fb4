"""Outbox to effect over NATS, ours: rows of a producer's outbox, relayed, carried, received and handled, each with an
event recorded by its consumer; both stores SQLite FULL, producer and consumer in processes of their own.

The CPU is that of all processes, the server's included. With --slowly one message comes every 20 ms, and what counts is
the time from its commit to that of its effect.

python -m benchmarks.outbox_to_effect [--slowly]
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import uvloop

from benchmarks.measuring import Measured, Stopwatch, children_cpu_seconds_of, tell
from colonnade.brokers.broker import Broker
from colonnade.brokers.nats import connect_to_nats
from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.observability.foreground import Foreground
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.store import DueMessage, Store
from colonnade.persistence.unit import Append, ChainId, Effect, Handled, NewEvent, Publish, Unit
from colonnade.system.hosts.servers.nats import nats_server
from colonnade.workers.receiving import Inbox
from colonnade.workers.refetching import ChainEnd, Refetched
from colonnade.workers.relay import Relay
from colonnade.workers.worker import Worker
from colonnade.world import real_world

MESSAGES, KEYS, PAGE = 5_000, 500, 100
SLOW_MESSAGES, SLOW_SECONDS = 200, 0.02
TOPIC, TYPE, CONSUMER = "shop.events", "shop.Sold", "Recording"

WORLD = real_world()


def published(number: int) -> Publish:
    """A message that knows when it was made."""
    key = f"Order/{number % KEYS}"
    id = WORLD.ids.new()
    envelope = Envelope(
        specversion="1.0",
        id=id,
        source="shop",
        type=TYPE,
        subject=key,
        time=datetime.now(UTC),
        data=msgspec.Raw(b'{"made":%d}' % time.monotonic_ns()),
        correlationid=UUID(int=8),
    )
    return Publish(TOPIC, key, id, envelope.encode())


async def commit(store: Store, effects: Sequence[Effect]) -> None:
    """Commit `effects` together."""
    await store.commit(Unit(WORLD.clock.micros(), WORLD.ids.new(), effects=[*effects]))


@asynccontextmanager
async def engines(url: str, file: Path) -> AsyncIterator[tuple[Store, Broker]]:
    """The store and the broker of one process."""
    store = await open_sqlite_store(file, WORLD)
    broker = await connect_to_nats(url, WORLD)
    try:
        yield store, broker
    finally:
        await broker.close()
        await store.close()


async def produce(url: str, folder: Path, slowly: bool) -> None:
    """Fill the outbox, say so, and relay from when a line comes until the input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with engines(url, folder / "shop.sqlite3") as (store, broker):
        for first in range(0, 0 if slowly else MESSAGES, PAGE):
            await commit(store, [published(number) for number in range(first, first + PAGE)])
        print("filled", flush=True)
        await reader.readline()
        relaying = asyncio.create_task(Relay("shop", store, broker, WORLD, "this one").run())
        for number in range(SLOW_MESSAGES if slowly else 0):
            await commit(store, [published(number)])
            await asyncio.sleep(SLOW_SECONDS)
        await reader.read()
        relaying.cancel()
        await asyncio.wait([relaying])


class Recording:
    """Records an event for each message."""

    holds = True
    joins = False

    def __init__(self, store: Store, expected: int) -> None:
        self._store = store
        self._expected = expected
        self.latencies: list[float] = []
        self.done = asyncio.Event()

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Handle one message."""
        event = NewEvent(WORLD.ids.new(), "Recorded", 1, bytes(envelope.data))
        await commit(self._store, [Handled(due.row), Append(f"Record/{envelope.id}", 0, [event])])
        made: int = msgspec.json.decode(envelope.data)["made"]
        self.latencies.append((time.monotonic_ns() - made) / 1e9)
        if len(self.latencies) == self._expected:
            self.done.set()


async def _no_refetch(chain: ChainId, after: int) -> Refetched:
    return Refetched()


async def _no_ends() -> Sequence[ChainEnd]:
    return ()


async def measure(slowly: bool) -> Measured:
    expected = SLOW_MESSAGES if slowly else MESSAGES
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = await stack.enter_async_context(nats_server(folder / "nats", WORLD))
        store, broker = await stack.enter_async_context(engines(server.url, folder / "ordering.sqlite3"))
        inbox = Inbox("ordering", store, WORLD, {TYPE: [CONSUMER]}, _no_refetch, _no_ends)
        await broker.subscribe("ordering", [TOPIC], inbox.receive)
        recording = Recording(store, expected)
        arguments = [server.url, str(folder), *(["--slowly"] if slowly else [])]
        producer = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.outbox_to_effect", "--produce", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert producer.stdin is not None
        assert producer.stdout is not None
        assert await producer.stdout.readline() == b"filled\n"
        worker = asyncio.create_task(Worker("ordering", store, {CONSUMER: recording}, WORLD, Foreground()).run())
        watch = Stopwatch()
        children = children_cpu_seconds_of(os.getpid())
        with watch.running():
            producer.stdin.write(b"go\n")
            async with asyncio.timeout(120):
                await recording.done.wait()
        watch.cpu_seconds += children_cpu_seconds_of(os.getpid()) - children
        producer.stdin.close()
        await producer.wait()
        worker.cancel()
        await asyncio.wait([worker])
        if slowly:
            watch.latencies = recording.latencies
        return watch.of(expected)


if __name__ == "__main__":
    if "--produce" in sys.argv:
        uvloop.run(produce(sys.argv[2], Path(sys.argv[3]), "--slowly" in sys.argv))
    else:
        tell(uvloop.run(measure("--slowly" in sys.argv)))
