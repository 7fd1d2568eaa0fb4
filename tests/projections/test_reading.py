"""Queries read one consistent state, of the build that is read, and never older than what their caller has seen."""

import asyncio
from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, bindparam, func, literal, literal_column, select
from sqlalchemy import insert as insert_into
from sqlalchemy.exc import MultipleResultsFound, NoResultFound

from colonnade.application.writes import insert, upsert
from colonnade.persistence.failures import QueryFailed
from colonnade.persistence.reads import RequiredPosition, StaleRead, required_position
from colonnade.persistence.streams import StreamQueues
from colonnade.persistence.tables.inline import NotOwnTable, UnitTables
from colonnade.persistence.tables.models import UnknownTable
from colonnade.persistence.unit import Unit
from colonnade.persistence.work import Work, current_work

from .desk import SERVICE, Desk, Opened, Served, Toasted, desk, running, tabs
from .homes import Home

notes = Table("notes", MetaData(), Column("id", Integer, primary_key=True))


@pytest.fixture(autouse=True)
def nothing_required() -> Iterator[None]:
    """Each test starts without a token."""
    token = required_position.set(None)
    yield
    required_position.reset(token)


def require(d: Desk, position: int, history: UUID | None = None, service: str = SERVICE) -> None:
    """Read nothing older than `position` from here on."""
    required_position.set(RequiredPosition(service, history or d.store.history, position))


async def test_a_query_waits_for_what_its_caller_has_seen(home: Home) -> None:
    """It is answered as soon as the projection has come as far, and not before."""
    async with desk(home) as d:
        require(d, await d.record("Tab/a", Opened("Ann")))
        waiting = asyncio.create_task(d.rows())
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        await d.caught_up()
        assert [row[1] for row in await waiting] == ["Ann"]


async def test_the_commands_of_many_are_read_by_each(home: Home) -> None:
    """Under load, every caller finds its own write."""
    async with desk(home) as d, running(d.projector):

        async def guest(number: int) -> None:
            for turn in range(10):
                event = Served(1) if turn else Opened(str(number))
                require(d, await d.record(f"Tab/{number}", event))
                row = await d.reads.one(select(tabs).where(tabs.c.tab == f"Tab/{number}"))
                assert row.rounds == turn

        await asyncio.gather(*(guest(number) for number in range(16)))


async def test_a_query_that_cannot_be_fresh_enough_says_so(home: Home) -> None:
    """After a while, naming the projection and how far it is."""
    async with desk(home) as d:
        await d.record("Tab/a", Opened("Ann"))
        await d.caught_up()
        require(d, await d.record("Tab/a", Served(1)))
        d.models.wait_seconds = 0.02
        with pytest.raises(
            StaleRead, match=f"Tabs has been written up to {d.at(1)}, {d.at(2)} is asked for; try again soon"
        ):
            await d.rows()


async def test_events_of_others_keep_no_query_waiting(home: Home) -> None:
    """What the projection does not take cannot make its rows stale, though its checkpoint lies before it."""
    async with desk(home) as d:
        await d.record("Tab/a", Opened("Ann"))
        await d.caught_up()
        require(d, await d.record("Toast/a", Toasted(), Toasted()))
        d.models.wait_seconds = 0.0
        assert len(await d.rows()) == 1
        assert await d.store.checkpoint("Tabs/1") == d.at(1)


@pytest.mark.parametrize("foreign", ["service", "history"])
async def test_positions_of_other_logs_say_nothing(home: Home, foreign: str) -> None:
    """A token of another service, or of a history that a restore has ended, is no reason to wait."""
    async with desk(home) as d:
        d.models.wait_seconds = 0.0
        await d.record("Tab/a", Opened("Ann"))
        if foreign == "service":
            require(d, 1_000, service="kitchen")
        else:
            require(d, 1_000, history=UUID(int=1))
        assert await d.rows() == []


async def test_another_process_switches_and_queries_follow(home: Home) -> None:
    """A reader that still thinks of the old build, whose tables are gone, looks again."""
    async with desk(home) as d:
        await d.record("Tab/a", Opened("Ann"))
        await d.caught_up()
        async with desk(home) as elsewhere:
            assert await elsewhere.rows() == await d.rows()
            async for _ in d.projector.rebuild():
                assert await elsewhere.rows() == await d.rows()
            assert await d.tables() == ["tabs__2"]
            assert await elsewhere.rows() == await d.rows()


async def test_first_and_one(home: Home) -> None:
    """The first row or none; the only row or an error."""
    async with desk(home) as d:
        assert await d.reads.first(select(tabs)) is None
        with pytest.raises(NoResultFound):
            await d.reads.one(select(tabs))
        await d.record("Tab/a", Opened("Ann"))
        await d.record("Tab/b", Opened("Bob"))
        await d.caught_up()
        row = await d.reads.first(select(tabs.c.guest, tabs.c.pence.label("sum")).order_by(tabs.c.guest.desc()))
        assert row is not None
        assert (row.guest, row.sum, row[0], tuple(row)) == ("Bob", 0, "Bob", ("Bob", 0))
        with pytest.raises(MultipleResultsFound):
            await d.reads.one(select(tabs))


async def test_a_statement_written_once_takes_its_values_when_asked(home: Home) -> None:
    """With lists of any length, none included."""
    by_guest = select(tabs.c.tab).where(tabs.c.guest.in_(bindparam("guests", expanding=True))).order_by(tabs.c.tab)
    by_tab = select(tabs.c.guest).where(tabs.c.tab == bindparam("tab"))
    async with desk(home) as d:
        for number, guest in enumerate(("Ann", "Bob", "Cy", "Ann")):
            await d.record(f"Tab/{number}", Opened(guest))
        await d.caught_up()
        for guests, found in ((["Ann"], [0, 3]), (["Ann", "Cy"], [0, 2, 3]), ([], []), (["Dee"], []), (["Bob"], [1])):
            rows = await d.reads.all(by_guest, {"guests": guests})
            assert [row.tab for row in rows] == [f"Tab/{number}" for number in found]
        for number, guest in enumerate(("Ann", "Bob")):
            row = await d.reads.first(by_tab, {"tab": f"Tab/{number}"})
            assert row is not None
            assert row.guest == guest


async def test_statements_of_one_shape_keep_their_own_values(home: Home) -> None:
    """Though they are compiled once."""
    async with desk(home) as d:
        for number in range(5):
            await d.record(f"Tab/{number}", Opened(f"guest {number}"))
        await d.caught_up()
        asked = [
            d.reads.all(select(tabs.c.guest).where(tabs.c.tab.in_([f"Tab/{n}", f"Tab/{n - 1}"]))) for n in range(5)
        ]
        found = [sorted(row.guest for row in rows) for rows in await asyncio.gather(*asked)]
        assert found == [["guest 0"], *([f"guest {n - 1}", f"guest {n}"] for n in range(1, 5))]


async def test_joins_aliases_and_subqueries_name_the_declared_tables(home: Home) -> None:
    """Whatever table stands for them."""
    async with desk(home) as d:
        await d.record("Tab/a", Opened("Ann"))
        await d.record("Tab/b", Opened("Ann"))
        await d.caught_up()
        other = tabs.alias("other")
        pairs = (
            select(tabs.c.tab, other.c.tab).join(other, tabs.c.guest == other.c.guest).where(tabs.c.tab < other.c.tab)
        )
        assert [tuple(row) for row in await d.reads.all(pairs)] == [("Tab/a", "Tab/b")]
        last = select(func.max(tabs.c.tab)).scalar_subquery()
        assert [row.tab for row in await d.reads.all(select(tabs.c.tab).where(tabs.c.tab == last))] == ["Tab/b"]
        counted = select(tabs.c.guest, func.count().label("n")).group_by(tabs.c.guest).cte("counted")
        assert [tuple(row) for row in await d.reads.all(select(counted))] == [("Ann", 2)]


async def test_what_the_database_does_not_take_is_told_with_the_statement(home: Home) -> None:
    """A query that cannot be, and one that would write."""
    async with desk(home) as d:
        with pytest.raises(QueryFailed, match="rounds_of"):
            await d.reads.all(select(literal_column("rounds_of")).select_from(tabs))
        with pytest.raises(QueryFailed, match=r"read-?only"):
            await d.reads.all(insert_into(tabs).values(tab="x", guest="x", state="x", at=1).returning(tabs.c.tab))
        with pytest.raises(UnknownTable, match="The service tabs has no table notes"):
            await d.reads.all(select(notes))
        assert await d.rows() == []


async def test_a_slow_query_holds_up_no_other(home: Home) -> None:
    """And is broken off when nobody waits for it any more."""
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    forever = select(func.count()).select_from(numbers.union_all(select(numbers.c.n + 1)))
    async with desk(home) as d, asyncio.timeout(10):
        slow = asyncio.create_task(d.reads.all(forever))
        for _ in range(5):
            assert await d.rows() == []
        slow.cancel()
        await asyncio.wait([slow])
        assert slow.cancelled()


def tables_of(d: Desk) -> tuple[UnitTables, Work]:
    """Writes on the service's own tables, and the work that they go into."""
    work = Work(StreamQueues())
    current_work.set(work)
    return UnitTables(d.models), work


async def test_tables_of_ones_own_are_written_with_the_command(home: Home) -> None:
    """In their order, in the one transaction; thousands of rows cost little."""
    async with desk(home) as d:
        await d.models.own([notes])
        tables, work = tables_of(d)
        tables.write(*(insert(notes, id=number) for number in range(5_000)), upsert(notes, id=7))
        assert len(work.effects) == 2
        await d.store.commit(Unit(0, d.world.ids.new(), effects=work.effects))
        assert await d.rows(notes) == [(number,) for number in range(5_000)]


async def test_a_command_does_not_write_what_a_projection_fills(home: Home) -> None:
    """It records an event instead."""
    async with desk(home) as d:
        tables, _ = tables_of(d)
        with pytest.raises(NotOwnTable, match="Table tabs is filled by Tabs alone; record an event"):
            tables.write(insert(tabs, tab="x", guest="x", state="x", at=1))


async def test_idle_projections_and_readers_write_nothing(home: Home) -> None:
    """Nothing happens, nothing is committed."""
    async with desk(home) as d, running(d.projector):
        require(d, await d.record("Tab/a", Opened("Ann")))
        await d.rows()
        touched: list[object] = []
        d.store.watch(touched.append)
        await d.rows()
        await asyncio.sleep(0.1)
        assert not touched
