"""Bar (a), peer: `eventsourcing`, `app.save` on its SQLite module, from as many threads as tasks, as it is blocking.

Its defaults for a file are WAL and SQLite's own synchronous=FULL.
python -m benchmarks.peers.eventsourcing_save TASKS EVENTS
"""

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from benchmarks.measuring import Measured, Stopwatch, assert_durable, tell

SECONDS = 1.0
LINES = [{"product_id": 1_000_000 + number, "quantity": 1, "price": "2.99"} for number in range(5)]
TOTAL = Decimal("14.95")


class Order(Aggregate):
    @event("Placed")
    def __init__(self, customer_id: UUID, lines: list, total: Decimal) -> None:
        self.customer_id, self.lines, self.total = customer_id, lines, total

    @event("Amended")
    def amend(self, lines: list, total: Decimal) -> None:
        self.lines, self.total = lines, total


class Orders(Application[UUID]):
    pass


def measure(tasks: int, events: int) -> Measured:
    with tempfile.TemporaryDirectory() as data:
        app = Orders(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"{data}/orders.db"})

        def work(until: float) -> int:
            done = 0
            while time.perf_counter() < until:
                order = Order(customer_id=uuid4(), lines=LINES, total=TOTAL)
                for _ in range(events - 1):
                    order.amend(lines=LINES, total=TOTAL)
                app.save(order)
                done += 1
            return done

        with ThreadPoolExecutor(tasks) as pool:
            list(pool.map(work, [time.perf_counter() + 0.3] * tasks))
            watch = Stopwatch()
            with watch.running():
                operations = sum(pool.map(work, [time.perf_counter() + SECONDS] * tasks))
        assert_durable(f"{data}/orders.db")
        app.close()
        return watch.of(operations)


if __name__ == "__main__":
    tell(measure(int(sys.argv[1]), int(sys.argv[2])))
