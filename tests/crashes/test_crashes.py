"""A crash at every step of the commit path: what was acknowledged is there, and nothing is there by half."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.testing import running_system
from colonnade.world import real_world
from tests.crashes.forks import DIED, Forks, forks, told
from tests.crashes.workloads import BATCHES, UNITS, WORKLOADS, make, request_of, store_of, unit, waiting
from tests.example.bakery.system import bakery

COMMIT = [name for name in WORKLOADS if name.startswith("commit")]
MAKE = [name for name in WORKLOADS if name.startswith("make")]


@pytest.fixture(scope="module")
def dying() -> Iterator[Forks]:
    """Where children are forked that die."""
    with forks() as running:
        yield running


def emptied(folder: Path) -> Path:
    """`folder`, made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def numbers(connection: apsw.Connection, sql: str) -> set[int]:
    """The numbers that a query finds."""
    return {int(number) for (number,) in connection.execute(sql)}


PARTS = {
    "both events": "SELECT substr(stream, 6) FROM events GROUP BY stream HAVING count(*) = 2 AND max(version) = 2",
    "any event": "SELECT DISTINCT substr(stream, 6) FROM events",
    "outbox": "SELECT envelope ->> 'number' FROM outbox",
    "inbox": "SELECT substr(key, 6) FROM inbox WHERE consumer = 'subscriber:Till'",
    "head": "SELECT substr(key, 6) FROM heads WHERE consumer = 'subscriber:Till'",
    "timer": "SELECT substr(name, 7) FROM timers",
    "answer": "SELECT substr(scope, 8) FROM answers",
    "snapshot": "SELECT substr(stream, 6) FROM snapshots",
    "read model": "SELECT number FROM sales",
}


async def judge(data: Path) -> None:
    """What was told is there whole, the rest whole or not at all; the rest can still be done, and once only."""
    store = await open_sqlite_store(store_of(data), real_world())
    try:
        rows = await waiting(store)
        connection = apsw.Connection(str(store_of(data)), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            assert connection.execute("PRAGMA integrity_check").get == "ok"
            parts = {name: numbers(connection, sql) for name, sql in PARTS.items()}
            there = parts["read model"]
            assert {name: part for name, part in parts.items() if part != there} == {}
            assert there == set(range(UNITS)) - rows.keys()
            assert {int(number) for number in told(data)} <= there
            await asyncio.gather(*(store.commit(unit(number, row)) for number, row in rows.items()))
            assert numbers(connection, PARTS["both events"]) == set(range(UNITS))
            (counted,) = connection.execute("SELECT count(*), max(position) FROM events")
            assert counted == (2 * UNITS, 2 * UNITS)
        finally:
            connection.close()
    finally:
        await store.close()


async def units_survive(dying: Forks, workload: str, folder: Path, every: int) -> None:
    """End at each step, or at every so manieth, and judge what is left."""
    (folder / "made").mkdir()
    await make(folder / "made")

    def begun(name: str) -> Path:
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(folder / "made", folder / name)
        return folder / name

    undisturbed = dying.run(workload, begun("undisturbed"))
    assert undisturbed.status == 0
    assert len(told(folder / "undisturbed")) == UNITS
    reached = 0
    for step in range(1, undisturbed.steps + 1, every):
        data = begun("data")
        outcome = dying.run(workload, data, step)
        # Where batches are cut is a matter of time, so that a run may have less steps than another
        assert outcome.status in (DIED, 0)
        assert outcome.status == DIED or len(told(data)) == UNITS
        reached += outcome.steps >= step
        await judge(data)
    assert reached > undisturbed.steps // every // 2


async def stores_survive(dying: Forks, workload: str, folder: Path, every: int) -> None:
    """Die at each step of making a store: what is left can be opened, or made anew."""
    undisturbed = dying.run(workload, emptied(folder / "undisturbed"))
    assert undisturbed.status == 0
    for step in range(1, undisturbed.steps + 1, every):
        data = emptied(folder / "data")
        assert dying.run(workload, data, step).status == DIED
        await make(data)
        assert told(data) in ([], ["made"])
        await judge_made(data)


async def judge_made(data: Path) -> None:
    """Every message is there, once, and each can be done."""
    store = await open_sqlite_store(store_of(data), real_world())
    try:
        rows = await waiting(store)
        assert rows.keys() == set(range(UNITS))
        assert await store.inbox.unhandled() == UNITS
        await asyncio.gather(*(store.commit(unit(number, row)) for number, row in rows.items()))
    finally:
        await store.close()


async def requests_survive(dying: Forks, folder: Path, every: int) -> None:
    """Die at each step of a whole system's event loop; then repeat the requests, and everything is there once."""
    undisturbed = dying.run("system", emptied(folder / "undisturbed"))
    assert undisturbed.status == 0
    died = 0
    for step in range(1, undisturbed.steps + 1, every):
        data = emptied(folder / "data")
        outcome = dying.run("system", data, step)
        assert outcome.status in (DIED, 0)
        died += outcome.status == DIED
        ids = {int(number): id for number, _, id in (line.partition(" ") for line in told(data))}
        async with running_system(bakery, data) as system:
            for number in range(BATCHES):
                body, headers = request_of(number)
                answer = await system.request("POST", "/api/baking/batches", json=body, headers=headers)
                assert answer.status == 201
                assert ids.setdefault(number, answer.json()["id"]) == answer.json()["id"]
            await system.settled()
            baking, selling = (system.runtime.services[name].store for name in ("baking", "selling"))
            happened = [event.name for event in await baking.log.read(0, 100)]
            assert happened.count("baking.BreadBaked") == happened.count("colonnade.SagaEnded") == BATCHES
            stocked = await selling.log.read(0, 100)
            assert sorted(event.stream for event in stocked) == sorted(f"Shelf/{id}" for id in ids.values())
            assert [await store.inbox.unhandled() for store in (baking, selling)] == [0, 0]
    assert died > undisturbed.steps // every // 2


@pytest.mark.parametrize("workload", COMMIT)
async def test_units_are_whole_after_a_crash_at_some_steps(workload: str, dying: Forks, tmp_path: Path) -> None:
    """At some writes, syncs and statements: acknowledged units are there, none is by half, the rest can be done."""
    await units_survive(dying, workload, tmp_path, every=61)


@pytest.mark.parametrize("workload", MAKE)
async def test_a_store_can_be_opened_after_a_crash_at_some_steps(workload: str, dying: Forks, tmp_path: Path) -> None:
    """At some steps of making it: it is there whole, or made anew, and units can be committed."""
    await stores_survive(dying, workload, tmp_path, every=37)


async def test_requests_are_done_once_after_a_crash_at_some_awaits(dying: Forks, tmp_path: Path) -> None:
    """At some steps of the event loop: requests repeated with their keys are done once, and their sagas end."""
    await requests_survive(dying, tmp_path, every=101)


@pytest.mark.proof
@pytest.mark.parametrize("workload", COMMIT)
async def test_units_are_whole_after_a_crash_at_any_step(workload: str, dying: Forks, tmp_path: Path) -> None:
    """Before and after every write, sync and statement: the same."""
    await units_survive(dying, workload, tmp_path, every=1)


@pytest.mark.proof
@pytest.mark.parametrize("workload", MAKE)
async def test_a_store_can_be_opened_after_a_crash_at_any_step(workload: str, dying: Forks, tmp_path: Path) -> None:
    """Before and after every write and sync that makes it: the same."""
    await stores_survive(dying, workload, tmp_path, every=1)


@pytest.mark.proof
async def test_requests_are_done_once_after_a_crash_at_any_await(dying: Forks, tmp_path: Path) -> None:
    """At every step of the event loop, from the request to the end of its saga: the same."""
    await requests_survive(dying, tmp_path, every=1)
