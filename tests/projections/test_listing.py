"""How far projections are, told by who keeps them up, and from the store alone where nobody does."""

from typing import Any

import pytest

from colonnade.application import Projection
from colonnade.system.admin.operations import ListProjections
from colonnade.system.admin.perform import Administered, perform
from colonnade.system.admin.reports import Finished, ProjectionStatus

from .desk import SERVICE, Desk, Opened, Served, Tabs, Toasted, desk
from .homes import Home
from .test_poison import an_evening, failing, held


async def listed(d: Desk, *, kept_up: bool) -> ProjectionStatus:
    """The desk's only projection, as it is listed with its code or without."""
    service = Administered(d.store, {d.projector.name: d.projector} if kept_up else {})
    (report,) = [each async for each in perform(ListProjections(SERVICE), {SERVICE: service}, d.world)]
    assert isinstance(report, Finished)
    (status,) = report.projections
    return status


HELD = "One stream is held: Tab/a, at event {}: LookupError: no. Mend the projection's code and restart."


@pytest.mark.parametrize(
    ("kind", "hint"),
    [(Tabs, None), (held(LookupError("no")), HELD)],
    ids=["all is taken", "a stream is held"],
)
async def test_the_same_is_told_with_and_without_the_code(
    kind: type[Projection[Any]], hint: str | None, home: Home
) -> None:
    """Events of others leave nobody behind, whatever the checkpoint; only that nobody keeps it up differs."""
    async with desk(home, kind) as d:
        await an_evening(d)
        await d.record("Tab/a", Toasted())
        await d.caught_up()
        for kept_up in (True, False):
            told = ProjectionStatus(SERVICE, "Tabs", d.at(8), d.at(8), kept_up, None, hint and hint.format(d.at(4)))
            assert await listed(d, kept_up=kept_up) == told


async def test_what_stops_a_projection_is_told_with_the_remedy_and_without_the_code_how_far_it_came(
    home: Home,
) -> None:
    """The position before the event that it could not take; why it stopped, only its code can say."""
    async with desk(home, failing(LookupError("no"))) as d:
        await an_evening(d)
        await d.caught_up()
        stopped = await listed(d, kept_up=True)
        assert (stopped.position, stopped.end) == (d.at(3), d.at(7))
        assert stopped.stopped == (
            f"The projection Tabs cannot take event {d.at(4)} of Tab/a: LookupError: no. "
            "Mend its code and restart, or rebuild it."
        )
        left = await listed(d, kept_up=False)
        assert (left.position, left.end, left.stopped) == (d.at(3), d.at(7), None)


async def test_several_held_streams_are_counted_and_the_first_named(home: Home) -> None:
    """By the order of the log."""
    async with desk(home, held(LookupError("no"))) as d:
        await an_evening(d)
        await d.record("Tab/b", Toasted())
        await d.caught_up()
        told = f"2 streams are held, the first is Tab/a, at event {d.at(4)}: LookupError: no. "
        for kept_up in (True, False):
            assert str((await listed(d, kept_up=kept_up)).held).startswith(told)


async def test_a_first_filling_that_was_broken_off_is_listed(home: Home) -> None:
    """Nobody reads it yet, and it is as far behind as it is."""
    async with desk(home, opened=False) as d:
        await d.record("Tab/a", Opened("Ann"), Served(1))
    async with desk(home) as d:
        left = await listed(d, kept_up=False)
        assert (left.position, left.end) == (d.at(0), d.at(2))
        await d.caught_up()
        assert (await listed(d, kept_up=False)).position == d.at(2)
