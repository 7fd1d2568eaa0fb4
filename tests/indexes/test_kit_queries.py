"""No statement of the store reads a large table from one end to the other: its functions included."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import getmembers, isfunction
from typing import Any, get_args
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from colonnade.persistence.failures import LeaseLost, StoreConflict, VersionConflict
from colonnade.persistence.postgres import open_postgres_store
from colonnade.persistence.store import InboxRows, Leases, Log, LossRows, OutboxRows, Store, Timers, Versions
from colonnade.persistence.unit import (
    Advance,
    Answer,
    Append,
    ArmTimer,
    ChainId,
    Defer,
    Deliver,
    DisarmTimer,
    Discard,
    Effect,
    Expect,
    Fence,
    Forget,
    Handled,
    HandledAtOnce,
    Incoming,
    KeepAside,
    NewEvent,
    NoteLoss,
    Park,
    PassOver,
    Publish,
    Receive,
    Relayed,
    Retry,
    Settle,
    Snapshot,
    Succeed,
    Unit,
    Unpark,
    Write,
    WriteMany,
)
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.world import real_world
from tests.indexes.filling import ROWS, changed_without_settings, fill, functions_never_called, tables_of
from tests.indexes.spy import Spy, spying

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

WORLD = real_world()
NOW = 1_700_000_000_000_000
LATER = NOW + 3_600_000_000
TIMES = 7
"""After five times PostgreSQL may make a plan that it keeps for all values."""

TINY = {
    "store": "one row",
    "writers": "two rows for each process of the service",
    "histories": "a row for each time that the database failed over",
    "relayed": "a row for each topic and partition",
    "pruned": "a row for each topic and partition",
    "chains": "a row for each topic and partition of each producer",
    "losses": "a row for each hole in a chain that its producer can fill no more",
    "checkpoints": "a row for each projection",
    "projections": "a row for each projection",
    "builds": "a few rows for each projection",
    "own_tables": "a row for each table of the service's own",
    "versions": "a row for each line of migrations",
    "instances": "a row for each process of the service",
    "migrations": "a row for each statement of a migration",
    "sharers": "a row for each instance and piece of work that instances divide",
    "leases": "a row for each piece of work that one process does alone",
}
"""Tables that may be read whole, and why they stay small."""

ALLOWED = {
    "inbox WHERE parked_at IS NULL": "counts all that waits: for who looks at a service, and when an eighth of the "
    "room may have been filled; an index for it would be paid by every message",
    ".succeed_chains(": "runs once for each chain after its producer has failed over; an index by chain would be paid "
    "by every message",
}
"""Statements that may read a large table whole, and why."""

FILLED: Mapping[str, Mapping[str, str]] = {
    "events": {"stream": "'Filler/' || g / 10", "version": "g % 10 + 1", "name": "'shop.Filler' || g % 20"},
    "snapshots": {"stream": "'Filler/' || g"},
    "outbox": {"topic": "'shop.events'", "partition": "g % 8", "time": "g"},
    "inbox": {
        "chain": "1",
        "consumer": "'Till'",
        "key": "CASE WHEN g % 2 = 0 THEN 'k' || g ELSE 'held' || g % 10 END",
        "ready": "g % 1000 > 10",
        "attempts": "0",
        "parked_at": "CASE WHEN g % 100 = 2 THEN g END",
        "holds": "g % 200 = 2",
    },
    "heads": {
        "chain": "1",
        "consumer": "'Till'",
        "key": "'k' || g",
        "held": "g % 1000 = 2",
        "not_before": f"CASE WHEN g % 3 = 0 THEN 0 WHEN g % 3 = 1 THEN 1 + g ELSE {LATER} + g END",
    },
    "kept_aside": {},
    "timers": {"due": f"{LATER} + g", "kind": "'deliver'", "lane": "''"},
    "answers": {"expires": f"{LATER} + g"},
    "deferrals": {"key": "'charge/' || g"},
    "held_streams": {"build": "g % 3"},
    "sales": {},
}

UNCALLED = {
    "lose": "it always raises, and the server counts no such call",
    "lose_rows": "it always raises",
    "settle_batch": "it is called where a connection broke while a batch was committed, and looks its writer up by id",
    "begin_history": "it is called once after a failover, when a server with another timeline is met",
}
"""Functions of which the server counts no call here."""

Call = Callable[[Store], Awaitable[object]]

CHAIN = ChainId("shop", UUID(int=1), "shop.events", 1)

ASKED: dict[str, Call] = {
    "Log.load": lambda store: store.log.load(["Filler/7", "Filler/9", "Nothing/1"], snapshots=True),
    "Log.stream": lambda store: store.log.stream("Filler/7"),
    "Log.read": lambda store: store.log.read(ROWS // 2),
    "Log.read named": lambda store: store.log.read(0, 256, ["shop.Filler3", "shop.Never"]),
    "Log.page": lambda store: store.log.page(0, 256, ["shop.Filler3", "shop.Never"]),
    "Log.streams": lambda store: store.log.streams("Filler", "Filler/5"),
    "Log.held": lambda store: store.log.held(),
    "Log.end": lambda store: store.log.end(),
    "OutboxRows.pending": lambda store: store.outbox.pending(ROWS - 100, 256),
    "OutboxRows.relayed": lambda store: store.outbox.relayed(),
    "OutboxRows.ends": lambda store: store.outbox.ends(["shop.events", "other"]),
    "OutboxRows.all_left_up_to": lambda store: store.outbox.all_left_up_to(),
    "OutboxRows.of_chain": lambda store: store.outbox.of_chain("shop.events", 3, ROWS // 2, 256),
    "OutboxRows.left": lambda store: store.outbox.left(500),
    "OutboxRows.weigh": lambda store: store.outbox.weigh(ROWS - 1_000, 1_000),
    "InboxRows.chains": lambda store: store.inbox.chains(),
    "InboxRows.early": lambda store: store.inbox.early(CHAIN),
    "InboxRows.due": lambda store: store.inbox.due(NOW, 64),
    "InboxRows.due longest": lambda store: store.inbox.due(NOW, 64, consumer="Till", without=[1, 2]),
    "InboxRows.due newest": lambda store: store.inbox.due(NOW, 64, consumer="Till", which="newest"),
    "InboxRows.due again": lambda store: store.inbox.due(NOW, 64, consumer="Till", which="again"),
    "InboxRows.due of any in slots": lambda store: store.inbox.due(NOW, 64, slots=[1, 5]),
    "InboxRows.due in slots": lambda store: store.inbox.due(NOW, 64, consumer="Till", slots=[1, 5]),
    "InboxRows.oldest": lambda store: store.inbox.oldest(),
    "InboxRows.consumers": lambda store: store.inbox.consumers(),
    "InboxRows.next_due_after": lambda store: store.inbox.next_due_after(NOW),
    "InboxRows.unhandled": lambda store: store.inbox.unhandled(),
    "InboxRows.held": lambda store: store.inbox.held(),
    "InboxRows.parked_count": lambda store: store.inbox.parked_count(),
    "InboxRows.parked": lambda store: store.inbox.parked(100),
    "InboxRows.parked_message": lambda store: store.inbox.parked_message(202),
    "InboxRows.kept_aside": lambda store: store.inbox.kept_aside(100),
    "InboxRows.waiting_before": lambda store: store.inbox.waiting_before("Till", "k8", NOW),
    "LossRows.page": lambda store: store.losses.page(),
    "LossRows.one": lambda store: store.losses.one(1),
    "Timers.due": lambda store: store.timers.due(LATER + 100, 64),
    "Timers.next_due": lambda store: store.timers.next_due(),
    "Timers.names": lambda store: store.timers.names("filler 77"),
    "Leases.acquire": lambda store: store.leases.acquire("relay", "me", 60.0),
    "Leases.release_all": lambda store: store.leases.release_all("nobody"),
    "Leases.held": lambda store: store.leases.held(),
    "Leases.share": lambda store: store.leases.share("lines", "me", 60.0, take=[1, 2], give=[3]),
    "Leases.leave": lambda store: store.leases.leave("lines", "nobody"),
    "Leases.release": lambda store: _given_up(store),
    "Versions.renew": lambda store: store.versions.renew(),
    "Store.checkpoint": lambda store: store.checkpoint("Sales"),
    "Store.answers": lambda store: store.answers("filler 7", "nothing"),
    "Store.deferrals": lambda store: store.deferrals("charge/7"),
    "Store.prune": lambda store: _pruned(store),
    "Store.query": lambda store: store.query([(f"SELECT total FROM {_sales(store)} WHERE number = $1", [7])]),
    "Store.commit": lambda store: store.commit(Unit(NOW, UUID(int=1))),
}
"""Every read of the port, and what it is asked."""

NO_READS = {
    "Versions.enter": "it has been called when the store was opened, as `renew` is",
    "Store.watch": "it only remembers who listens",
    "Timers.watch": "it only remembers who listens",
    "Store.define": "it makes tables",
    "Store.health": "it tells what is known",
    "Store.close": "it ends",
}


def _sales(store: Store) -> str:
    dialect: Any = store.dialect
    return f'"{dialect.tables_schema}".sales'


async def _given_up(store: Store) -> None:
    lease = await store.leases.acquire("other", "me", 60.0)
    assert lease is not None
    await store.leases.release(lease)


async def _pruned(store: Store) -> None:
    await store.prune([each.seq for each in await store.outbox.left(50)], LATER + 50, 50)


class Numbers:
    """Rows that are there, each taken once."""

    def __init__(self) -> None:
        self.unhandled = iter(range(200, ROWS, 100))
        self.parked = iter(range(2, ROWS, 100))
        self.new = iter(range(1, ROWS))
        self.received = 0


def _units(numbers: Numbers, sales: str) -> Sequence[Sequence[Effect]]:
    """Units with every effect there is, of rows among a hundred thousand."""
    new = next(numbers.new)
    late = f"late {new}"
    expected, numbers.received = numbers.received, numbers.received + 2
    former = ChainId("stock", UUID(int=ROWS + new), "stock.events", 1)
    holed = ChainId("stock", UUID(int=new), "stock.events", 2)
    incoming = [
        Incoming(numbers.received, numbers.received - 1, "Till", late, b"{}", ready=True, sent_at=NOW),
        Incoming(
            numbers.received + 1_000_000, numbers.received + 999_999, "Till", late, b"{}", ready=False, sent_at=NOW
        ),
    ]
    return [
        [Append(f"Order/{new}", 0, [NewEvent(WORLD.ids.new(), "shop.Sold", 1, b"{}")]), Expect("Filler/7", 10)],
        [Publish("shop.events", late, WORLD.ids.new(), b"{}"), Relayed("shop.events", new % 8, ROWS - 40)],
        [Deliver("Till", late, b"{}"), ArmTimer(f"timer {new}", LATER, Deliver("Till", "a", b"{}", "timers"))],
        [DisarmTimer(f"filler {new}", LATER + new), DisarmTimer("never armed")],
        [Receive(CHAIN, expected, numbers.received, incoming, at_once=[("Till", f"at once {new}")])],
        [HandledAtOnce("Till", f"at once {new}")],
        [Receive(former, 0, 5, [])],
        [Succeed(former, UUID(int=new), 3, "lost")],
        [Receive(holed, 0, 5, []), NoteLoss(holed, 5, 9, "its producer has deleted it", NOW)],
        [PassOver(new, "alice")],
        [Handled(next(numbers.unhandled)), Handled(next(numbers.unhandled))],
        [Retry(next(numbers.unhandled), 2, LATER, "it failed")],
        [Park(next(numbers.unhandled), 9, "it failed", hold=True)],
        [Park(next(numbers.unhandled), 9, "it failed", hold=False)],
        [Unpark(next(numbers.parked), b"{}")],
        [Discard(next(numbers.parked))],
        [KeepAside("shop", "no message", b"?")],
        [Answer(f"asked {new}", b"", b"", LATER), Forget(f"filler {new}"), Snapshot(f"Order/{new}", 1, 1, b"{}")],
        [Advance("Sales", new - 1, new)],
        [Defer(late, "shop", "a"), Settle(f"charge/{new}", f"filler {new}", f"filler {new}")],
        [
            Write(f"UPDATE {sales} SET total = $1 WHERE number = $2", (new, new), must_hit=True),
            WriteMany(f"UPDATE {sales} SET total = $1 WHERE number = $2", [(new, new), (new, new + 1)], must_hit=True),
            WriteMany(f"DELETE FROM {sales} WHERE number = $1", [(ROWS - new,)]),
            Publish("shop.events", late, WORLD.ids.new(), b"{}"),
        ],
    ]


LOSING: Sequence[Sequence[Effect]] = [
    [Append("Filler/7", 3, [NewEvent(UUID(int=5), "shop.Sold", 1, b"{}")])],
    [Expect("Filler/7", 3)],
    [Handled(ROWS * 10)],
    [Retry(ROWS * 10, 1, LATER, "it failed")],
    [Discard(ROWS * 10)],
    [PassOver(ROWS * 10, "alice")],
    [Answer("filler 99999", b"", b"", LATER)],
    [DisarmTimer("never armed", NOW)],
    [Advance("Sales", 77, 78)],
    [Receive(CHAIN, 77, 78, [])],
    [HandledAtOnce("Till", "late 1")],
]


@dataclass
class Filled:
    """A store whose tables hold a hundred thousand rows each."""

    store: Store
    spy: Spy
    schema: str
    connection: asyncpg.Connection


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(postgres: PostgresServer) -> AsyncIterator[Filled]:
    """The store, filled once, and the spy on all of its connections."""
    schema = f"shop_{WORLD.ids.new().hex}"
    connection = await asyncpg.connect(postgres.url())
    with pytest.MonkeyPatch.context() as monkeypatch:
        spy = spying(monkeypatch)
        store = await open_postgres_store(postgres.url(), WORLD, schema=schema)
        await store.define([f'CREATE TABLE "{schema}".sales (number bigint PRIMARY KEY, total bigint)'])
        await fill(connection, schema, FILLED)
        for sequence in ("positions", "inbox_rows"):
            await connection.execute(f"SELECT setval('\"{schema}\".{sequence}', {ROWS})")
        for partition in range(8):
            await connection.execute(
                f"INSERT INTO \"{schema}\".relayed VALUES ('shop.events', {partition}, {ROWS - 50})"
            )
        yield Filled(store, spy, schema, connection)
        await store.close()
    await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
    await connection.close()


async def test_every_table_is_large_or_named_as_small(filled: Filled) -> None:
    """A new table is filled with a hundred thousand rows, or says why it will never hold many."""
    assert sorted(await tables_of(filled.connection, filled.schema)) == sorted([*TINY, *FILLED])


async def test_every_read_of_the_port_is_asked() -> None:
    """A new method of the store's port is asked here at a hundred thousand rows, or says why it reads nothing."""
    ports = (Log, OutboxRows, InboxRows, LossRows, Timers, Leases, Versions, Store)
    methods = {
        f"{port.__name__}.{name}" for port in ports for name, _ in getmembers(port, isfunction) if name[0] != "_"
    }
    assert {name.partition(" ")[0] for name in ASKED} | NO_READS.keys() == methods
    effects = {type(effect) for unit in _units(Numbers(), "sales") for effect in unit}
    assert effects == set(get_args(Effect))


async def test_no_statement_of_the_kit_reads_a_large_table_whole(filled: Filled) -> None:
    """Neither a read, nor a write, nor a unit that loses, nor a function of the store's, whatever plan is kept."""
    store, spy = filled.store, filled.spy
    numbers = Numbers()
    spy.looking = True
    for _ in range(TIMES):
        for ask in ASKED.values():
            await ask(store)
        for effects in _units(numbers, f'"{filled.schema}".sales'):
            await store.commit(Unit(NOW, UUID(int=1), effects=[*effects]))
        for effects in LOSING:
            with pytest.raises(StoreConflict):
                await store.commit(Unit(NOW, UUID(int=1), effects=[*effects]))
        lease = await store.leases.acquire("timers", "me", 60.0)
        assert lease is not None
        fence = Fence("timers", lease.epoch)
        await store.commit(Unit(NOW, UUID(int=1), effects=[KeepAside("a", "b", b"c")], fence=fence))
        with pytest.raises(LeaseLost):
            await store.commit(Unit(NOW, UUID(int=1), effects=[KeepAside("a", "b", b"c")], fence=Fence("relay", 99)))
    spy.looking = False
    await asyncio.sleep(1.1)  # after which the server has been told what was called
    if findings := spy.findings(TINY, ALLOWED):
        pytest.fail("\n\n".join(map(str, findings)))
    assert set(await functions_never_called(filled.connection, filled.schema)) == UNCALLED.keys()
    # And whatever was updated or deleted from says how it is kept clean; a row of `losses` is updated once or twice in
    # its life, and `sales` is this test's own
    assert await changed_without_settings(filled.connection, filled.schema) == ["losses", "sales"]


@pytest.mark.parametrize(
    ("index", "statement", "again"),
    [
        (
            "outbox_by_chain",
            lambda store: store.outbox.of_chain("shop.events", 9, 0, 256),
            "CREATE INDEX outbox_by_chain ON outbox (topic, partition, seq)",
        ),
        (
            "events_by_stream",
            lambda store: _lost(store),
            "CREATE UNIQUE INDEX events_by_stream ON events (stream, version)",
        ),
        ("timers_by_due", lambda store: store.timers.due(NOW, 5), "CREATE INDEX timers_by_due ON timers (due)"),
    ],
)
async def test_an_index_that_is_missing_is_found(filled: Filled, index: str, statement: Call, again: str) -> None:
    """A plain read, one in a function, one by a unit that loses: the spy names the table and the statement."""
    await filled.connection.execute(f'DROP INDEX "{filled.schema}".{index}')
    filled.spy.found.clear()
    filled.spy.looking = True
    try:
        await statement(filled.store)
    finally:
        filled.spy.looking = False
        path = f'SET search_path = "{filled.schema}"'
        await filled.connection.execute(f"{path}; {again}; RESET search_path")
    (finding,) = filled.spy.findings(TINY)
    filled.spy.found.clear()
    assert finding.table == index.partition("_")[0]
    assert "SELECT" in str(finding)


async def _lost(store: Store) -> None:
    with pytest.raises(VersionConflict):
        await store.commit(Unit(NOW, UUID(int=1), effects=[Expect("Filler/7", 3)]))
