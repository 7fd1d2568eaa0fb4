"""An event that a projection cannot take stops it by name, or holds its stream alone; nothing is skipped silently."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_where

from colonnade.application import Projection, Write, change, insert, upsert
from colonnade.messages import Metadata
from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.unit import Append, NewEvent, Unit
from colonnade.workers.projections import PoisonEvent

from .desk import Desk, Opened, Paid, Served, Tabs, Toasted, desk, running, tabs
from .homes import ENGINES, Home

other = Table("other", MetaData(), Column("id", Integer, primary_key=True), Column("name", String))


def failing(*writes: Write | Exception) -> type[Projection[Any]]:
    """The projection of tabs, which answers a toast with `writes`."""

    class Failing(Tabs):
        """Takes toasts too, as it can."""

        takes = (Opened, Served, Paid, Toasted)

        def on(self, event: Any, meta: Metadata) -> Write | Sequence[Write]:
            """Follow."""
            if not isinstance(event, Toasted):
                return super().on(event, meta)
            for write in writes:
                if isinstance(write, Exception):
                    raise write
            return [write for write in writes if not isinstance(write, Exception)]

    Failing.__name__ = "Tabs"
    return Failing


# What the two engines call it, or both
POISONS: dict[str, tuple[Write | Exception, str | tuple[str, str]]] = {
    "the code raises": (LookupError("no such guest"), "LookupError: no such guest"),
    "a changed row is not there": (change(tabs, tab="nobody", guest="x"), "MissedRow"),
    "a new row is there": (
        insert(tabs, tab="Tab/a", guest="x", state="x", at=1),
        ("ConstraintError", "UniqueViolationError"),
    ),
    "a value is of another type": (
        upsert(tabs, tab="x", guest="x", state="x", at="soon"),
        "Column at of tabs cannot hold a value: 'soon' is no whole number",
    ),
    "a number is too large": (
        upsert(tabs, tab="x", guest="x", state="x", at=1 << 70),
        "does not fit 64 bits",
    ),
    "a text is no Unicode": (
        upsert(tabs, tab="x", guest="\ud800", state="x", at=1),
        ("UnicodeEncodeError", "surrogates not allowed"),
    ),
    "a statement is wrong": (
        update_where(tabs).values(pence=tabs.c.guest.op("NEAR")("x")),
        ("SQLError", "syntax error"),
    ),
    "a table is another's": (upsert(other, id=1), "Tabs does not own the table other"),
    "a table is another's, in a statement": (insert_into(other).values(id=1), "Tabs does not own the table other"),
}


async def an_evening(d: Desk) -> None:
    """Two tabs, a toast that is the fourth event, and more of both tabs behind it."""
    await d.record("Tab/a", Opened("Ann"), Served(100))
    await d.record("Tab/b", Opened("Bob"))
    await d.record("Tab/a", Toasted())
    await d.record("Tab/b", Served(5))
    await d.record("Tab/a", Served(200))
    await d.record("Tab/a", Paid())


def before(d: Desk) -> list[tuple[object, ...]]:
    """The rows before the toast."""
    return [("Tab/a", "Ann", 100, 1, "open", d.at(2)), ("Tab/b", "Bob", 0, 0, "open", d.at(3))]


def after(d: Desk) -> list[tuple[object, ...]]:
    """The rows after that evening, whatever became of the toast."""
    return [("Tab/a", "Ann", 300, 2, "paid", d.at(7)), ("Tab/b", "Bob", 5, 1, "open", d.at(5))]


@pytest.mark.parametrize("poison", POISONS)
async def test_a_poison_event_stops_its_projection_with_a_named_alarm(home: Home, poison: str) -> None:
    """All before it is projected, it and what comes after is not; health says where and why."""
    write, cause = POISONS[poison]
    async with desk(home, failing(write)) as d:
        await an_evening(d)
        await d.caught_up()
        assert await d.rows() == before(d)
        (state,) = d.projector.health()
        assert (state.name, state.severity) == ("tabs.projection.Tabs", Severity.DEGRADED)
        assert f"cannot take event {d.at(4)} of Tab/a" in state.detail
        assert (cause if isinstance(cause, str) else cause[ENGINES.index(home.engine)]) in state.detail
        progress = await d.projector.progress()
        assert (progress.position, progress.end, progress.stopped) == (d.at(3), d.at(7), state.detail)


async def test_a_write_that_only_the_whole_page_hides_is_found(home: Home) -> None:
    """A later event of the page would have made the row that an earlier one misses."""
    async with desk(home) as d:
        await d.record("Tab/a", Opened("Ann"))
        await d.record("Tab/b", Served(1))
        await d.record("Tab/c", Opened("Cy"))
        await d.caught_up()
        assert [row[0] for row in await d.rows()] == ["Tab/a"]
        assert f"cannot take event {d.at(2)} of Tab/b" in d.projector.health()[0].detail


async def test_events_of_unknown_names_and_newer_versions_stop_it(new_home: Callable[[], Home]) -> None:
    """What the code does not know it does not pass over."""
    for name, schema, cause in (("tabs.Opened", 2, "NewerVersion"), ("tabs.Opened", 1, "MalformedMessage")):
        async with desk(new_home()) as d:
            event = NewEvent(d.world.ids.new(), name, schema, b"{}")
            await d.store.commit(Unit(0, d.world.ids.new(), effects=[Append("Tab/a", 0, [event])]))
            await d.caught_up()
            assert cause in d.projector.health()[0].detail


async def test_after_the_cause_is_mended_it_goes_on_where_it_stopped(home: Home) -> None:
    """With the next start; mended code of the same version need not fill everything again."""
    async with desk(home, failing(LookupError("mend me"))) as d:
        await an_evening(d)
        await d.caught_up()
        assert "mend me" in d.projector.health()[0].detail
    async with desk(home, failing()) as d:
        assert not d.projector.health()
        await d.caught_up()
        assert await d.rows() == after(d)
        assert await d.tables() == ["tabs__1"]


async def test_a_rebuild_tells_what_it_cannot_get_over(home: Home) -> None:
    """The rows that are read stay; the alarm says that it is the rebuild which stands."""
    async with desk(home, failing()) as d:
        await an_evening(d)
        await d.caught_up()
    async with desk(home, failing(LookupError("broken since"))) as d:
        with pytest.raises(PoisonEvent, match=f"cannot take event {d.at(4)} of Tab/a: LookupError: broken since"):
            await d.rebuilt()
        assert [state.name for state in d.projector.health()] == ["tabs.projection.Tabs.rebuild"]
        assert await d.rows() == after(d)
        await d.record("Tab/b", Served(1))
        await d.caught_up()
        assert (await d.rows())[1][2] == 6


async def test_a_poison_is_logged_once(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Not at every event that comes behind it."""
    async with desk(home, failing(LookupError("told"))) as d, running(d.projector):
        await an_evening(d)
        while not d.projector.health():
            await d.record("Tab/b", Served(1))
        for _ in range(20):
            await d.record("Tab/b", Served(1))
        told = capsys.readouterr().out
    assert told.count("event not projected") == 1


def held(*writes: Write | Exception) -> type[Projection[Any]]:
    """The same, declared per stream."""
    kind = failing(*writes)
    kind.poison = "hold stream"
    return kind


async def test_declared_per_stream_it_holds_that_stream_alone(home: Home) -> None:
    """Others go on; the held one stays as it was, over a restart too, until its cause is mended."""
    for _ in range(2):
        async with desk(home, held(LookupError("mend me"))) as d:
            if not d.versions and await d.store.log.end() == 0:
                await an_evening(d)
            await d.caught_up()
            assert await d.rows() == [before(d)[0], after(d)[1]]
            (state,) = d.projector.health()
            assert state == HealthState("tabs.projection.Tabs.held", Severity.DEGRADED, state.detail)
            assert f"One stream is held: Tab/a, at event {d.at(4)}: LookupError: mend me" in state.detail
            progress = await d.projector.progress()
            assert (progress.position, progress.stopped) == (d.at(7), None)
    async with desk(home, held()) as d:
        assert not d.projector.health()
        await d.record("Tab/a", Served(0))
        await d.caught_up()
        assert await d.rows() == [("Tab/a", "Ann", 300, 3, "paid", d.at(8)), after(d)[1]]


async def test_a_held_stream_that_is_tried_again_stops_at_its_next_poison(home: Home) -> None:
    """What could be taken before it stays projected, once."""
    async with desk(home, held(change(tabs, tab="nobody", guest="x"))) as d:
        await an_evening(d)
        await d.record("Tab/a", Toasted(), Served(7))
        await d.caught_up()

    once = held(LookupError("the second time"))
    original = once.on

    def on(self: Any, event: Any, meta: Metadata) -> Any:
        return () if meta.position == home.unused + 4 else original(self, event, meta)

    once.on = on  # type: ignore[method-assign]
    async with desk(home, once) as d:
        await d.caught_up()
        assert (await d.rows())[0] == after(d)[0]
        assert f"at event {d.at(8)}: LookupError: the second time" in d.projector.health()[0].detail
    async with desk(home, held()) as d:
        await d.caught_up()
        assert (await d.rows())[0] == ("Tab/a", "Ann", 307, 3, "paid", d.at(9))


async def test_a_rebuild_holds_what_it_cannot_take_by_itself(home: Home) -> None:
    """Streams held in the one are not held in the other, and the switch does not forget them."""
    async with desk(home, held(LookupError("a"))) as d:
        await an_evening(d)
        await d.caught_up()
        await d.rebuilt()
        assert await d.rows() == [before(d)[0], after(d)[1]]
        assert [state.name for state in d.projector.health()] == ["tabs.projection.Tabs.held"]
        assert await d.tables() == ["tabs__2"]
    async with desk(home, held()) as d:
        assert await d.rows() == after(d)
