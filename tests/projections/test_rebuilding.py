"""A read model can be filled anew at any time: beside the one that is read, under load, over crashes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, String, Table, select

from colonnade.application import Projection, Write, increment, upsert
from colonnade.messages import Metadata
from colonnade.persistence.store import Committed
from colonnade.persistence.tables.models import BeingBuilt, ReadModels
from colonnade.persistence.unit import Unit
from colonnade.workers.projections import Projector

from .desk import CODEC, SERVICE, Desk, Opened, Paid, Served, Tabs, Toasted, desk, names_of, running, tabs
from .homes import Home

MOST_TURNS = 200


class Crash(Exception):
    """The process ends here."""


@asynccontextmanager
async def crashing(desk: Desk, after_commits: int, *, acknowledged: bool) -> AsyncIterator[None]:
    """Let the process end at a commit, before or after it is durable."""
    commit, left = desk.store.commit, after_commits

    async def counting(unit: Unit) -> Committed:
        nonlocal left
        left -= 1
        if left < 0 and not acknowledged:
            raise Crash
        done = await commit(unit)
        if left < 0:
            raise Crash
        return done

    desk.store.commit = counting  # type: ignore[method-assign]
    try:
        yield
    finally:
        desk.store.commit = commit  # type: ignore[method-assign]


async def test_rows_follow_the_log(home: Home) -> None:
    """Inserts, changes and sums, in the order of the log."""
    async with desk(home) as d:
        await d.record("Tab/a", Opened("Ann"), Served(300), Served(450))
        await d.record("Tab/b", Opened("Bob"))
        last = await d.record("Tab/a", Paid())
        await d.caught_up()
        assert await d.rows() == [("Tab/a", "Ann", 750, 2, "paid", last), ("Tab/b", "Bob", 0, 0, "open", d.at(4))]


async def test_events_of_others_cost_no_transactions(home: Home) -> None:
    """The checkpoint stays where it is until it lags far behind; nothing is written for what is of no interest."""
    async with desk(home) as d:
        await d.record("Tab/a", Opened("Ann"))
        await d.caught_up()
        for _ in range(20):
            await d.record("Toast/a", Toasted())
        async with crashing(d, 0, acknowledged=False):
            await d.caught_up()
        assert (await d.projector.progress()).position == d.at(21)
        assert await d.store.checkpoint("Tabs/1") == d.at(1)
        await d.record("Toast/b", *[Toasted()] * 2_000)
        await d.caught_up()
        assert await d.store.checkpoint("Tabs/1") == d.at(2_021)


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_crash_between_pages_neither_loses_nor_doubles(home: Home, acknowledged: bool) -> None:
    """Whether the last transaction was durable or not: after a restart every event has its effect once."""
    async with desk(home) as d:
        await d.a_long_evening(10, 40)
    crashes = 0
    for commits in range(6):
        async with desk(home) as d:
            try:
                async with crashing(d, commits % 3, acknowledged=acknowledged):
                    await d.caught_up()
            except Crash:
                crashes += 1
    async with desk(home) as d:
        await d.caught_up()
        assert [(row[2], row[3]) for row in await d.rows()] == [
            (sum(turn + number for turn in range(40)), 40) for number in range(10)
        ]
        assert crashes > 0


@pytest.mark.parametrize("acknowledged", [False, True])
@pytest.mark.parametrize("commits", range(9))
async def test_a_crash_in_a_rebuild_leaves_one_whole_read_model(home: Home, commits: int, acknowledged: bool) -> None:
    """At whatever commit it ends, readers see all rows after a restart, and in the end one build is left."""
    async with desk(home) as d:
        await d.a_long_evening(8, 60)
        await d.caught_up()
        rows = await d.rows()
    crashed = False
    async with desk(home) as d:
        try:
            async with crashing(d, commits, acknowledged=acknowledged):
                async for _ in d.projector.rebuild():
                    assert await d.rows() == rows
        except Crash:
            crashed = True
        assert await d.rows() == rows
    async with desk(home) as d:
        assert await d.rows() == rows
        await d.caught_up()
        assert await d.rows() == rows
        assert len(await d.tables()) == 1
        assert crashed


async def test_a_rebuild_under_load_equals_the_live_one(home: Home) -> None:
    """Row for row, while events go on being recorded and readers reading; the old tables go away afterwards."""
    async with desk(home) as d, running(d.projector):
        await d.a_long_evening(10, 30)
        recording = True

        async def record() -> None:
            # No more than this: on a busy machine a rebuild would run after it for ever
            for turn in range(1, MOST_TURNS + 1):
                if not recording:
                    return
                await asyncio.gather(*(d.record(f"Tab/{number}", Served(turn)) for number in range(10)))
                await d.world.sleep(0.01)

        async def read() -> int:
            reads, rounds = 0, 0
            while recording:
                now = sum(row[3] for row in await d.rows())
                assert now >= rounds, "a reader was sent back in time"
                reads, rounds = reads + 1, now
                await d.world.sleep(0.001)
            return reads

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(record())
            reading = tasks.create_task(read())
            progress = await d.rebuilt()
            again = await d.rebuilt()
            recording = False
        assert reading.result() > 0
        assert progress[-1].position >= 310
        assert [step.position for step in progress] == sorted(step.position for step in progress)
        assert progress[-1].events_per_second > 0
        assert again
        await d.caught_up()
        rebuilt = await d.rows()
        assert [row[2:4] for row in rebuilt] == [await expected(d, row[0]) for row in rebuilt]
        assert await d.tables() == ["tabs__3"]


async def expected(d: Desk, stream: str) -> tuple[int, int]:
    """What was served, and how often, by the log."""
    events = await d.store.log.stream(stream, 1, 1_000_000)
    served = [int(event.data.split(b":")[1].rstrip(b"}")) for event in events]
    return sum(served), len(served)


async def test_a_rebuild_that_nobody_watches_any_more_goes_on(home: Home) -> None:
    """Whoever asked for it may go away; the projector's own loop finishes it."""
    async with desk(home) as d:
        await d.a_long_evening(5, 60)
        await d.caught_up()
        async for _ in d.projector.rebuild():
            break
        assert await d.tables() == ["tabs__1", "tabs__2"]
        await d.caught_up()
        assert await d.tables() == ["tabs__2"]


async def test_two_who_ask_for_a_rebuild_share_it(home: Home) -> None:
    """The second joins the first."""
    async with desk(home) as d:
        await d.a_long_evening(5, 60)
        await d.caught_up()
        assert all(await asyncio.gather(d.rebuilt(), d.rebuilt()))
        assert await d.tables() == ["tabs__2"]


class TabsAnew(Tabs):
    """The same tables, by another reckoning."""

    version = 2

    def on(self, event: Opened | Served | Paid, meta: Metadata) -> Write | Sequence[Write]:
        """Everything costs double."""
        if isinstance(event, Served):
            event = Served(event.pence * 2)
        return super().on(event, meta)


TabsAnew.__name__ = "Tabs"

guests = Table(
    "tabs",
    MetaData(),
    Column("guest", String, primary_key=True),
    Column("tabs", Integer, nullable=False),
)


class Guests(Projection[Opened]):
    """Other tables, of other events, under the old name."""

    tables = (guests,)
    takes = (Opened,)

    def on(self, event: Opened, meta: Metadata) -> Write:
        """Count."""
        return upsert(guests, guest=event.guest, tabs=meta.position)


Guests.__name__ = "Tabs"


async def test_a_new_version_is_filled_beside_the_old_one(home: Home) -> None:
    """Until it has come as far, readers see what there was, and health says so; then they see the new rows."""
    async with desk(home) as d:
        await d.a_long_evening(4, 200)
        await d.caught_up()
        old = await d.rows()
    async with desk(home, TabsAnew) as d:
        assert await d.rows() == old
        (state,) = d.projector.health()
        assert state.name == "tabs.projection.Tabs.building"
        assert "queries see what there was before" in state.detail
        assert await d.projector.step()
        assert await d.rows() == old
        await d.caught_up()
        assert [row[2] for row in await d.rows()] == [row[2] * 2 for row in old]
        assert not d.projector.health()
        assert await d.tables() == ["tabs__2"]


async def test_going_back_to_an_older_version_fills_again(home: Home) -> None:
    """What an older version had built is gone; it is built anew and never mixed with the newer one's rows."""
    async with desk(home) as d:
        await d.a_long_evening(3, 5)
        await d.caught_up()
        old = await d.rows()
    async with desk(home, TabsAnew) as d:
        await d.caught_up()
    async with desk(home) as d:
        await d.caught_up()
        assert await d.rows() == old


async def test_tables_of_another_shape_are_not_read_half_filled(home: Home) -> None:
    """There is nothing to show in the meantime, so that queries are told to try again."""
    async with desk(home) as d:
        await d.a_long_evening(20, 10)
        await d.caught_up()
    async with desk(home, Guests) as d:
        d.models.wait_seconds = 0.01
        with pytest.raises(BeingBuilt, match="Tabs is being filled and cannot be read yet"):
            await d.rows(guests)
        assert "queries are told to try again" in d.projector.health()[0].detail
        d.models.wait_seconds = 5.0
        waiting = asyncio.create_task(d.rows(guests))
        await asyncio.sleep(0)
        await d.caught_up()
        assert len(await waiting) == 7
        assert await d.tables() == ["tabs__2"]


async def test_a_new_projection_is_read_once_it_has_come_to_the_end(home: Home) -> None:
    """A log that was there before it is not shown by halves."""
    async with desk(home, opened=False) as d:
        await d.a_long_evening(5, 300)
        await d.projector.open()
        d.models.wait_seconds = 0.01
        assert await d.projector.step()
        with pytest.raises(BeingBuilt):
            await d.rows()
        await d.caught_up()
        assert len(await d.rows()) == 5


async def test_an_unfinished_build_of_older_code_is_thrown_away(home: Home) -> None:
    """Only what the present code has begun is gone on with."""
    async with desk(home) as d:
        await d.a_long_evening(4, 100)
        await d.caught_up()
        async for _ in d.projector.rebuild():
            break
    async with desk(home, TabsAnew) as d:
        assert await d.tables() == ["tabs__1", "tabs__2", "tabs__3"]
        await d.caught_up()
        assert await d.tables() == ["tabs__3"]


async def test_two_processes_on_one_build_do_not_double_rows(home: Home) -> None:
    """Each page says where the checkpoint must stand, so that of two who project it one gives way."""
    async with desk(home) as d:
        await d.a_long_evening(6, 50)
        models = ReadModels(SERVICE, d.store, d.world)
        twin = Projector(Tabs(), names_of(Tabs), d.store, CODEC, models, d.world)
        await twin.open()
        async with running(d.projector), running(twin), asyncio.timeout(20):
            while await d.store.checkpoint("Tabs/1") < d.at(306):  # noqa: ASYNC110 - either of the two gets there
                await asyncio.sleep(0.01)
        assert [row[3] for row in await d.rows()] == [50] * 6


histories = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("osppt"), st.booleans()), max_size=40)


class Counts(Projection[Opened | Served | Paid]):
    """How often what happened to whom; made of all kinds of writes."""

    tables = (tabs,)

    def on(self, event: Opened | Served | Paid, meta: Metadata) -> Sequence[Write]:
        """Never fails, whatever the order."""
        row = upsert(tabs, tab=meta.stream, guest="somebody", state="open", at=meta.position)
        match event:
            case Opened():
                return [row, upsert(tabs, tab=meta.stream, guest=event.guest, state="open", at=meta.position)]
            case Served():
                return [row, increment(tabs, tab=meta.stream, pence=event.pence, rounds=1)]
            case Paid():
                return [row, upsert(tabs, tab=meta.stream, guest="gone", state="paid", at=meta.position)]


@settings(max_examples=12)
@given(histories)
def test_what_is_rebuilt_equals_what_was_built_live(
    new_home: Callable[[], Home], history: list[tuple[int, str, bool]]
) -> None:
    """Whatever happened, and wherever pages ended."""

    async def play() -> None:
        async with desk(new_home(), Counts) as d:
            for number, what, stop in history:
                event = {"o": Opened("a"), "s": Served(number + 1), "p": Paid(), "t": Toasted()}[what]
                await d.record(f"Tab/{number}", event)
                if stop:
                    await d.caught_up()
            await d.caught_up()
            live = await d.rows()
            await d.rebuilt()
            assert await d.rows() == live

    asyncio.run(play())


async def test_rows_of_a_select_without_tables_need_no_projection(home: Home) -> None:
    """A statement that names no table is answered too."""
    async with desk(home) as d:
        row: Any = await d.reads.one(select(1))
        assert tuple(row) == (1,)
