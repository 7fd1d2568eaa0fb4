"""What the children do until they die: units of work straight into a store, and requests to a whole system."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw

from colonnade.persistence.sqlite import open_sqlite_store
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
from tests.example.bakery.system import bakery

__all__ = ["BATCHES", "UNITS", "WORKLOADS", "Steps", "request_of", "unit"]

UNITS = 12
BATCHES = 3
FOR_EVER = 1 << 60

_DISK = apsw.vfs_names()[0]


class Steps:
    """Counts steps, and ends the process at one of them."""

    def __init__(self, last: int, die: Callable[[int], None]) -> None:
        self.taken = 0
        self._last = last
        self._die = die

    def step(self) -> None:
        """One step further."""
        self.taken += 1
        if self.taken == self._last:
            self._die(self.taken)


def unit(number: int, row: int | None = None) -> Unit:
    """A unit of work with an effect of every kind that must not come apart; it marks inbox row `row` as handled."""
    id, now = UUID(int=number), 1_000 + number
    events = [NewEvent(UUID(int=1_000 * number + place), "shop.Sold", 1, b"{}") for place in (1, 2)]
    unit = Unit(now, id)
    unit.effects += [
        Append(f"Sale/{number}", 0, events),
        Publish("shop.events", f"Sale/{number}", id, b'{"number":%d}' % number),
        Deliver("subscriber:Till", f"Sale/{number}", b"{}"),
        ArmTimer(f"timer {number}", FOR_EVER, Deliver("subscriber:Till", f"Sale/{number}", b"{}", "timers")),
        Answer(f"answer {number}", b"fingerprint", b"{}", FOR_EVER),
        Snapshot(f"Sale/{number}", 2, 1, b"{}"),
        Write("INSERT INTO sales (number) VALUES (?)", (number,)),
    ]
    if row is not None:
        unit.effects.append(Handled(row))
    return unit


async def _commit(data: Path, tell: Callable[[str], None]) -> None:
    store = await open_sqlite_store(data / "shop.sqlite3", real_world())
    await store.define(["CREATE TABLE IF NOT EXISTS sales (number INTEGER PRIMARY KEY) STRICT"])
    work = Unit(1, UUID(int=1))
    work.effects += [Deliver("handlers", f"Sale/{number}", b"{}") for number in range(UNITS)]
    await store.commit(work)
    tell("ready")
    rows = {due.key: due.row for due in await store.inbox.due(FOR_EVER, 100, consumer="handlers")}

    async def one(number: int) -> None:
        await store.commit(unit(number, rows[f"Sale/{number}"]))
        tell(f"{number}")

    for first in range(0, UNITS, 4):  # a batch of four, then another one while it is being written
        async with asyncio.TaskGroup() as group:
            for number in range(first, first + 4):
                group.create_task(one(number))
    await store.close()


class _CrashingFile(apsw.VFSFile):
    """A file whose writes and syncs are steps, before and after each."""

    def __init__(self, steps: Steps, synced: dict[str, int], name: Any, flags: list[int]) -> None:
        super().__init__(_DISK, name, flags)
        self._steps = steps
        self._synced = synced
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name

    def xWrite(self, data: bytes, offset: int) -> None:
        self._steps.step()
        super().xWrite(data, offset)
        self._steps.step()

    def xSync(self, flags: int) -> None:
        self._steps.step()
        super().xSync(flags)
        self._synced[self._path] = os.path.getsize(self._path)
        self._steps.step()


class _CrashingDisk(apsw.VFS):
    def __init__(self, steps: Steps, synced: dict[str, int]) -> None:
        self._steps, self._synced = steps, synced
        super().__init__("crashing", _DISK, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _CrashingFile(self._steps, self._synced, name, flags)


def _on_a_dying_disk(data: Path, steps: Steps, tell: Callable[[str], None]) -> None:
    """The process dies; what the kernel has is kept."""
    disk = _CrashingDisk(steps, {})
    asyncio.run(_commit(data, tell))
    disk.unregister()


def _without_power(data: Path, steps: Steps, tell: Callable[[str], None]) -> None:
    """The power goes: of the write-ahead log, which grows only, what was not synced is lost."""
    synced: dict[str, int] = {}
    wal = data / "shop.sqlite3-wal"
    die = steps._die

    def lose_and_die(taken: int) -> None:
        if wal.exists():
            os.truncate(wal, synced.get(str(wal), 0))
        die(taken)

    steps._die = lose_and_die
    disk = _CrashingDisk(steps, synced)
    asyncio.run(_commit(data, tell))
    disk.unregister()


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


async def _bake(data: Path, tell: Callable[[str], None]) -> None:
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


def _in_a_system(data: Path, steps: Steps, tell: Callable[[str], None]) -> None:
    """The process dies at a step of its event loop."""
    with asyncio.Runner(loop_factory=lambda: _CountingLoop(steps)) as runner:
        runner.run(_bake(data, tell))


WORKLOADS: Mapping[str, Callable[[Path, Steps, Callable[[str], None]], None]] = {
    "dying disk": _on_a_dying_disk,
    "without power": _without_power,
    "system": _in_a_system,
}
