"""Bar (a), the floor: a bare writer thread on apsw that commits for all who wait, and does nothing else; WAL, FULL.

python -m benchmarks.peers.group_commit TASKS EVENTS
"""

import asyncio
import queue
import sys
import tempfile
import threading
import time
import uuid

import apsw
import uvloop

from benchmarks.measuring import Measured, Stopwatch, tell

SECONDS = 1.0
DATA = b"x" * 400
SCHEMA = (
    "CREATE TABLE events (position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL, "
    "name TEXT NOT NULL, data BLOB NOT NULL, time REAL NOT NULL, UNIQUE (stream, version))"
)
INSERT = "INSERT INTO events (stream, version, name, data, time) VALUES (?, ?, ?, ?, ?)"


class Writer:
    def __init__(self, path: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, rows: list) -> asyncio.Future:
        done = self._loop.create_future()
        self._queue.put((done, rows))
        return done

    def _run(self) -> None:
        connection = apsw.Connection(self._path)
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", SCHEMA):
            connection.execute(statement).fetchall()
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT, [row for _, rows in batch for row in rows])
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._answer, batch)

    @staticmethod
    def _answer(batch: list) -> None:
        for done, _ in batch:
            done.set_result(None)


async def measure(tasks: int, events: int) -> Measured:
    with tempfile.TemporaryDirectory() as data:
        writer, operations = Writer(f"{data}/events.db"), 0

        async def work(until: float) -> None:
            nonlocal operations
            while time.perf_counter() < until:
                stream = uuid.uuid4().hex
                await writer.submit([(stream, version, "Placed", DATA, 1.0) for version in range(1, events + 1)])
                operations += 1

        async def all_work(seconds: float) -> None:
            until = time.perf_counter() + seconds
            async with asyncio.TaskGroup() as group:
                for _ in range(tasks):
                    group.create_task(work(until))

        await all_work(0.3)
        operations, watch = 0, Stopwatch()
        with watch.running():
            await all_work(SECONDS)
        return watch.of(operations)


if __name__ == "__main__":
    tell(uvloop.run(measure(int(sys.argv[1]), int(sys.argv[2]))))
