"""Plans that PostgreSQL keeps while the tables are nearly empty are as good when the tables are full."""

from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from colonnade.persistence.failures import StoreConflict
from colonnade.persistence.postgres.batch import Batch
from colonnade.persistence.postgres.failures import Lost, write_failure
from colonnade.persistence.unit import (
    Answer,
    ArmTimer,
    ChainId,
    Defer,
    Deliver,
    DisarmTimer,
    Effect,
    Handled,
    HandledAtOnce,
    Incoming,
    Receive,
    Retry,
    Settle,
    Unit,
)
from colonnade.system.hosts.servers.postgresql import PostgresServer
from tests.indexes.spy import counts
from tests.persistence.interleaving import Stage, stage

TIMES = 9
"""After five times PostgreSQL may make a plan that it keeps for all values, and once more where it forgot that."""

COUNTED_AFTER = 2
"""Rounds after which the tables are vacuumed, and known to be as small as they are."""

ROWS = 10
"""As many as are handed over at once."""

WAITING = 1_000
"""As many wait when it is looked at what the plan reads."""

MOST_ROWS = 100
"""More rows of a table than this are no look for each of those that are handed over."""

TABLES = ("inbox", "heads", "timers", "answers", "deferrals")
LOCK_MILLISECONDS = 5_000
ID = UUID(int=1)
CHAIN = ChainId("shop", ID, "shop.events", 1)

Make = Callable[[int, Sequence[int]], Sequence[Effect]]
"""The effects of a round, of the number of the round and the rows that wait in the inbox."""


@pytest.fixture
async def play(postgres: PostgresServer) -> AsyncIterator[Stage]:
    """A stage for one."""
    async with stage(postgres.url(), 1) as made:
        yield made


def _message(number: int) -> Deliver:
    return Deliver("Till", f"k{number}", b"{}")


def _incoming(seq: int) -> Incoming:
    return Incoming(seq=seq, prev=seq - 1, consumer="Bell", key=f"k{seq}", envelope=b"{}", sent_at=1, ready=True)


def _received(place: int, messages: Sequence[Incoming] = (), at_once: Sequence[tuple[str, str]] = ()) -> Receive:
    return Receive(CHAIN, place * ROWS, (place + 1) * ROWS, [*messages], (), tuple(at_once))


def _of_round(place: int) -> Sequence[int]:
    return range(place * ROWS + 1, (place + 1) * ROWS + 1)


MADE: dict[str, Make] = {
    "answers": lambda place, rows: [Answer(f"s{n}", b"f", b"{}", 1 << 60) for n in _of_round(place)],
    "timers that are disarmed": lambda place, rows: [DisarmTimer(f"t{n}") for n in _of_round(place)],
    "messages that are handled": lambda place, rows: [Handled(row) for row in rows[:ROWS]],
    "messages that are tried again": lambda place, rows: [Retry(row, 1, 1, "why") for row in rows[:ROWS]],
    "replies that are settled": lambda place, rows: [Settle(f"k{n}", "shop", "a") for n in _of_round(place)],
    "messages done at once": lambda place, rows: [HandledAtOnce("Bell", f"k{n}") for n in _of_round(place)],
    "messages of a chain": lambda place, rows: [_received(place, [_incoming(n) for n in _of_round(place)])],
    "messages of a chain done at once": lambda place, rows: [
        _received(place, at_once=[("Bell", f"k{n}") for n in _of_round(place)])
    ],
}


async def commit(connection: Any, effects: Sequence[Effect]) -> None:
    """Commit a unit, as a writer does."""
    batch = Batch(await connection.fetchval("SELECT current_schema()"), 8)
    batch.add(Unit(1, ID, effects=[*effects]))
    sql, arguments = batch.statement(LOCK_MILLISECONDS)
    await connection.fetchval(sql, *arguments)


@pytest.mark.parametrize(("times", "counted"), [(1, False), (TIMES, False), (TIMES, True)])
@pytest.mark.parametrize("what", MADE)
async def test_a_kept_plan_looks_for_each_row_along_an_index(
    play: Stage, what: str, times: int, *, counted: bool
) -> None:
    """Though it was made when to read the whole table was less, and nobody has told the server of its new size."""
    (actor,) = await play.play([[]], ())
    connection, numbers = actor.connection, count()

    async def wait_for_more(many: int) -> list[int]:
        more = [next(numbers) for _ in range(many)]
        await commit(connection, [_message(number) for number in more])
        await commit(connection, [ArmTimer(f"armed{number}", 1 << 50, _message(number)) for number in more])
        await commit(connection, [Defer(f"given{number}", "shop", "a") for number in more])
        await commit(connection, [Answer(f"given{number}", b"f", b"{}", 1 << 60) for number in more])
        return [row for (row,) in await connection.fetch("SELECT id FROM inbox WHERE consumer = 'Till' ORDER BY id")]

    for place in range(times):
        await commit(connection, MADE[what](place, await wait_for_more(ROWS)))
        if place == COUNTED_AFTER and counted:
            await connection.execute("VACUUM ANALYZE " + ", ".join(TABLES))
    rows = await wait_for_more(WAITING)
    await connection.execute("SELECT pg_stat_force_next_flush()")
    async with connection.transaction():
        before = await counts(connection)
        await commit(connection, MADE[what](times, rows))
        after = await counts(connection)
    read = {}
    for table in TABLES:
        scans_before, _, fetched_before = before.get(table, (0, 0, 0))
        scans, _, fetched = after.get(table, (0, 0, 0))
        read[table] = (scans - scans_before, fetched - fetched_before)
    assert all(scans == 0 and fetched <= MOST_ROWS for scans, fetched in read.values()), read


async def test_answers_that_have_expired_are_replaced_among_those_that_have_not(play: Stage) -> None:
    """In one batch: a new one, one in the place of one that has expired, and one that is told what was answered."""
    (actor,) = await play.play([[]], ())
    connection = actor.connection
    await commit(connection, [Answer("old", b"1", b"{}", 1), Answer("kept", b"2", b"{}", 2)])
    with pytest.raises(asyncpg.PostgresError) as raised:
        await commit(connection, [Answer(scope, b"3", b"{}", 1) for scope in ("new", "old", "kept")])
    lost = write_failure("shop", raised.value)
    assert isinstance(lost, Lost)
    (conflict,) = lost.conflicts.values()
    assert isinstance(conflict, StoreConflict)
    assert "kept" in str(conflict)
    await commit(connection, [Answer(scope, b"3", b"{}", 1) for scope in ("new", "old")])
    answers = await connection.fetch("SELECT scope, fingerprint FROM answers ORDER BY scope")
    assert [tuple(each) for each in answers] == [("kept", b"2"), ("new", b"3"), ("old", b"3")]
