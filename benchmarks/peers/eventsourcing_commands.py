"""The whole unit of work on PostgreSQL, peer: `eventsourcing` on its PostgreSQL module, from as many threads as tasks,
as it is blocking: an aggregate of ten events is got from the repository, decides, and is saved.

A connection a task in its pool; its functions in the database, which make it two to three times as fast at 32. Its
events are its outbox, for they carry the notification log's positions: it writes no messages beside them.

python -m benchmarks.postgres peers.eventsourcing_commands TASKS EVENTS
"""

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from benchmarks.commanding import EVENTS_BEFORE, SECONDS, STREAMS, WARM_SECONDS, stream_id
from benchmarks.measuring import Measured, Stopwatch, tell
from benchmarks.postgres import Postgres

DATABASE, SEEDED = "eventsourcing_commands", "eventsourcing_commands_seeded"
ORDER = UUID(int=7)


class Stock(Aggregate):
    @event("Received")
    def __init__(self, product_id: UUID) -> None:
        self.product_id, self.on_hand = product_id, 1_000_000

    @staticmethod
    def create_id(product_id: UUID) -> UUID:
        return product_id

    def reserve(self, order_id: UUID, quantity: int) -> None:
        assert self.on_hand >= quantity
        self._reserve(order_id, quantity)

    @event("Reserved")
    def _reserve(self, order_id: UUID, quantity: int) -> None:
        self.on_hand -= quantity


class Stocks(Application[UUID]):
    pass


def environment(postgres: Postgres, tasks: int) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": DATABASE,
        "POSTGRES_HOST": postgres.host,
        "POSTGRES_PORT": str(postgres.port),
        "POSTGRES_USER": postgres.user,
        "POSTGRES_PASSWORD": "none is asked for",
        "POSTGRES_POOL_SIZE": str(tasks),
        "POSTGRES_MAX_OVERFLOW": "0",
        "POSTGRES_ENABLE_DB_FUNCTIONS": "yes",
    }


async def prepared() -> Postgres:
    postgres = Postgres()
    if not await postgres.has(SEEDED):
        await postgres.make(DATABASE)
        app = Stocks(env=environment(postgres, 1))
        for first in range(0, STREAMS, 100):
            stocks = [Stock(product_id=stream_id(number)) for number in range(first, first + 100)]
            for stock in stocks:
                for _ in range(EVENTS_BEFORE - 1):
                    stock.reserve(ORDER, 1)
            app.save(*stocks)
        app.close()
        await postgres.keep(DATABASE, SEEDED)
    await postgres.make(DATABASE, SEEDED)
    await postgres.assert_durable()
    return postgres


def measure(tasks: int, events: int) -> Measured:
    postgres = asyncio.run(prepared())
    app = Stocks(env=environment(postgres, tasks))
    numbers = count()

    def work(until: float) -> int:
        done = 0
        while time.perf_counter() < until:
            stock = app.repository.get(stream_id(next(numbers) % STREAMS))
            for _ in range(events):
                stock.reserve(ORDER, 1)
            app.save(stock)
            done += 1
        return done

    with ThreadPoolExecutor(tasks) as pool:
        list(pool.map(work, [time.perf_counter() + WARM_SECONDS] * tasks))
        watch, before = Stopwatch(), postgres.cpu_seconds()
        with watch.running():
            operations = sum(pool.map(work, [time.perf_counter() + SECONDS] * tasks))
        watch.children_cpu_seconds = postgres.cpu_seconds() - before
    app.close()
    return watch.of(operations)


if __name__ == "__main__":
    tell(measure(int(sys.argv[1]), int(sys.argv[2])))
