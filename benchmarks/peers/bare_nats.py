"""Bare nats-py, as its own documentation advises for throughput: a publisher with 256 messages in flight, and a durable
pull consumer that fetches 256 at a time and acknowledges each, in processes of their own; a stream in files.

What it leaves out: an outbox, an inbox, an effect, and all that makes it once and in order. The CPU is that of all
processes, the server's included.

python -m benchmarks.peers.bare_nats
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import nats
import uvloop

from benchmarks.measuring import Measured, Stopwatch, children_cpu_seconds_of, tell
from benchmarks.outbox_to_effect import MESSAGES, published
from colonnade.system.hosts.servers.nats import nats_server
from colonnade.world import real_world

SUBJECT, IN_FLIGHT = "bare", 256


async def produce(url: str) -> None:
    """Publish all, when a line comes."""
    client = await nats.connect(url)
    stream = client.jetstream()
    data = published(7).envelope
    print("filled", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for first in range(0, MESSAGES, IN_FLIGHT):
        count = min(IN_FLIGHT, MESSAGES - first)
        for acknowledged in [await stream.publish_async(SUBJECT, data) for _ in range(count)]:
            await acknowledged
    await asyncio.to_thread(sys.stdin.read)  # its CPU is read while it lives
    await client.close()


async def measure() -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        async with nats_server(Path(folder), real_world()) as server:
            client = await nats.connect(server.url)
            stream = client.jetstream()
            await stream.add_stream(name=SUBJECT, subjects=[SUBJECT])
            subscription = await stream.pull_subscribe(SUBJECT, "group")
            producer = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.peers.bare_nats", "--produce", server.url,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert producer.stdin is not None
            assert producer.stdout is not None
            assert await producer.stdout.readline() == b"filled\n"
            watch = Stopwatch()
            children = children_cpu_seconds_of(os.getpid())
            with watch.running():
                producer.stdin.write(b"go\n")
                taken = 0
                while taken < MESSAGES:
                    batch = await subscription.fetch(IN_FLIGHT, timeout=10)
                    for message in batch:
                        await message.ack()
                    taken += len(batch)
                await client.flush()
                used = children_cpu_seconds_of(os.getpid()) - children
            watch.cpu_seconds += used
            producer.stdin.close()
            await producer.wait()
            await client.close()
            return watch.of(MESSAGES)


if __name__ == "__main__":
    if "--produce" in sys.argv:
        uvloop.run(produce(sys.argv[2]))
    else:
        tell(uvloop.run(measure()))
