"""What the children do until they die: units of work straight into a store, and requests to a whole system."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw

from colonnade.persistence.failures import AlreadyHandled, StoreFailed
from colonnade.persistence.sqlite import SqliteStore, open_sqlite_store, opening
from colonnade.persistence.sqlite.opening import NotAStore
from colonnade.persistence.unit import (
    Answer,
    Append,
    ArmTimer,
    Deliver,
    Handled,
    NewEvent,
    Publish,
    Snapshot,
    Unit,
    Write,
)
from colonnade.testing import running_system
from colonnade.world import real_world
from tests.crashes.disks import Steps, disk, disk_without_power, statements
from tests.example.bakery.system import bakery

__all__ = ["BATCHES", "FOR_EVER", "UNITS", "WORKLOADS", "make", "request_of", "store_of", "unit", "waiting"]

Tell = Callable[[str], None]

UNITS = 12
BATCHES = 3
FOR_EVER = 1 << 60

_AT_ONCE = 4

# So that a run of some units brings the write-ahead log home into the file more than once
opening._CHECKPOINT_PAGES = 30


def store_of(data: Path) -> Path:
    """The file of the store in a child's folder."""
    return data / "shop.sqlite3"


def unit(number: int, row: int) -> Unit:
    """A unit of work with an effect of every kind that must not come apart; it marks inbox row `row` as handled."""
    id, now = UUID(int=number), 1_000 + number
    events = [NewEvent(UUID(int=1_000 * (number + 1) + place), "shop.Sold", 1, b"{}") for place in (1, 2)]
    unit = Unit(now, id)
    unit.effects += [
        Handled(row),
        Append(f"Sale/{number}", 0, events),
        Publish("shop.events", f"Sale/{number}", id, b'{"number":%d}' % number),
        Deliver("subscriber:Till", f"Sale/{number}", b"{}"),
        ArmTimer(f"timer {number}", FOR_EVER, Deliver("subscriber:Till", f"Sale/{number}", b"{}", "timers")),
        Answer(f"answer {number}", b"fingerprint", b"{}", FOR_EVER),
        Snapshot(f"Sale/{number}", 2, 1, b"{}"),
        Write("INSERT INTO sales (number) VALUES (?)", (number,)),
    ]
    return unit


async def waiting(store: SqliteStore) -> dict[int, int]:
    """The inbox row of each unit that is not done yet."""
    return {int(due.key[5:]): due.row for due in await store.inbox.due(FOR_EVER, 100, consumer="handlers")}


async def make(data: Path) -> None:
    """Make a store with a message for each unit in its inbox."""
    store = await open_sqlite_store(store_of(data), real_world())
    try:
        await store.define(["CREATE TABLE IF NOT EXISTS sales (number INTEGER PRIMARY KEY) STRICT"])
        if not await store.inbox.unhandled():
            messages = [Deliver("handlers", f"Sale/{number}", b"{}") for number in range(UNITS)]
            await store.commit(Unit(1, UUID(int=1), effects=[*messages]))
    finally:
        await store.close()


async def _make(data: Path, tell: Tell) -> None:
    await make(data)
    tell("made")


async def _commit(data: Path, tell: Tell) -> None:
    store = await open_sqlite_store(store_of(data), real_world())
    left = deque((await waiting(store)).items())

    async def work(turns: int) -> None:
        while left:
            number, row = left.popleft()
            for _ in range(turns):  # so that some come while the others' batch is being written
                await asyncio.sleep(0)
            await store.commit(unit(number, row))
            tell(f"{number}")

    async with asyncio.TaskGroup() as group:
        for turns in range(_AT_ONCE):
            group.create_task(work(turns))
    await store.close()


async def _insist(data: Path, tell: Tell) -> None:
    """Commit on a disk that fails at times: what failed is tried again, as a worker and a client would."""

    async def one(store: SqliteStore, number: int, row: int) -> None:
        while True:
            try:
                await store.commit(unit(number, row))
            except StoreFailed:
                continue
            except AlreadyHandled:
                break
            break
        tell(f"{number}")

    while True:
        try:
            store = await open_sqlite_store(store_of(data), real_world())
            rows = await waiting(store)
        except (NotAStore, StoreFailed):
            continue
        async with asyncio.TaskGroup() as group:
            for number, row in rows.items():
                group.create_task(one(store, number, row))
        with suppress(apsw.IOError):  # SQLite itself would not tell, for nothing is lost by it
            await store.close()
        return


Work = Callable[[Path, Tell], Coroutine[Any, Any, None]]


def _killed(work: Work, data: Path, steps: Steps, tell: Tell) -> None:
    with disk(steps):
        asyncio.run(work(data, tell))


def _unpowered(work: Work, lucky: bool, data: Path, steps: Steps, tell: Tell) -> None:
    luck = random.Random(steps.last) if lucky else None  # noqa: S311  # luck that can be had again
    with disk_without_power(steps, data, luck):
        asyncio.run(work(data, tell))


def _statement_by_statement(data: Path, steps: Steps, tell: Tell) -> None:
    with statements(steps):
        asyncio.run(_commit(data, tell))


def _on_a_failing_disk(data: Path, steps: Steps, tell: Tell) -> None:
    def fail(taken: int) -> None:
        raise apsw.IOError("The disk failed.")

    steps.end = fail
    _killed(_insist, data, steps, tell)


class _CountingLoop(asyncio.SelectorEventLoop):
    """A loop for which each callback is a step: whatever awaits goes on in one."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def call_soon(self, callback: Any, *arguments: Any, context: Any = None) -> Any:  # type: ignore[override]
        """Count the callback when it runs."""
        return super().call_soon(self._counted(callback), *arguments, context=context)

    def call_soon_threadsafe(self, callback: Any, *arguments: Any, context: Any = None) -> Any:  # type: ignore[override]
        """Count the callback when it runs: a commit comes back from its thread."""
        return super().call_soon_threadsafe(self._counted(callback), *arguments, context=context)

    def _counted(self, callback: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: Any) -> None:
            self._steps.step()
            callback(*arguments)

        return counted


def request_of(number: int) -> tuple[dict[str, int], dict[str, str]]:
    """The body and the headers of one of the requests."""
    return {"loaves": number + 1}, {"Idempotency-Key": f"batch-{number}"}


async def _bake(data: Path, tell: Tell) -> None:
    async with running_system(bakery, data) as system:

        async def one(number: int) -> None:
            body, headers = request_of(number)
            answer = await system.request("POST", "/api/baking/batches", json=body, headers=headers)
            assert answer.status == 201
            tell(f"{number} {answer.json()['id']}")

        async with asyncio.TaskGroup() as group:
            for number in range(BATCHES):
                group.create_task(one(number))
        await system.settled()


def _in_a_system(data: Path, steps: Steps, tell: Tell) -> None:
    """The process dies at a step of its event loop."""
    with asyncio.Runner(loop_factory=lambda: _CountingLoop(steps)) as runner:
        runner.run(_bake(data, tell))


WORKLOADS: Mapping[str, Callable[[Path, Steps, Tell], None]] = {
    "make, killed": partial(_killed, _make),
    "make, without power": partial(_unpowered, _make, False),
    "make, torn": partial(_unpowered, _make, True),
    "commit, killed between statements": _statement_by_statement,
    "commit, killed": partial(_killed, _commit),
    "commit, without power": partial(_unpowered, _commit, False),
    "commit, torn": partial(_unpowered, _commit, True),
    "commit, the disk failing": _on_a_failing_disk,
    "system": _in_a_system,
}
