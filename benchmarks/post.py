"""Bar (b), ours: a POST that appends one event, on the embedded host. python -m benchmarks.post"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import uvloop

from benchmarks.http_load import measure_posts
from benchmarks.measuring import PROFILE_VARIABLE, tell
from colonnade.application import Ids, Repository
from colonnade.domain import Aggregate
from colonnade.messages import Command, Event, Positive, Value
from colonnade.presentation import Api, Post
from colonnade.system import Service, System

__all__ = ["host"]


class Line(Value):
    product_id: int
    quantity: Positive


class Placed(Event):
    customer_id: UUID
    store_id: int
    lines: tuple[Line, ...]


class Order(Aggregate[Placed]):
    def apply(self, event: Placed) -> None:
        self.placed = event


class PlaceOrder(Command[UUID]):
    customer_id: UUID
    store_id: int
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class PlaceOrderHandler:
    orders: Repository[Order]
    ids: Ids

    async def __call__(self, command: PlaceOrder) -> UUID:
        order = Order(self.ids.new())
        order.record(Placed(command.customer_id, command.store_id, command.lines))
        self.orders.add(order)
        return order.id


shop = System(
    "bench",
    [Service("shop", handlers=[PlaceOrderHandler], api=Api(Post("/orders", PlaceOrder, creates="/orders/{id}")))],
)


@contextmanager
def host(target: str, data: str) -> Iterator[tuple[int, int]]:
    """`colonnade up` as a process of its own: its process id and its port, once it answers."""
    profile = os.environ.get(PROFILE_VARIABLE)
    profiled = ["-m", "benchmarks.profiling", profile] if profile else []
    command = [sys.executable, *profiled, "-m", "colonnade.cli", "up", target, "--port", "0", "--data", data]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        banner = ""
        for line in process.stdout:
            banner += line
            if found := re.search(r"http://\S+:(\d+)/health/ready", banner):
                break
        else:
            raise RuntimeError(f"the host did not start: {banner}")
        try:
            yield process.pid, int(found[1])
        finally:
            process.terminate()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as data, host("benchmarks.post:shop", data) as (pid, port):
        measured = uvloop.run(measure_posts(port, pid, "/api/shop/orders"))
    tell(measured)
