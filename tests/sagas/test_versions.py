"""Sagas whose code changed while they were under way."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from colonnade.application import Plan, Step
from colonnade.cli.program import app
from colonnade.observability.health import Severity
from colonnade.system import System
from colonnade.workers.sagas.history import End
from tests.sagas.travel import trips
from tests.sagas.travel.clerks import Clerks
from tests.sagas.travel.stations import Confirm, stations
from tests.sagas.travel.stations.contracts import Book, Unbook
from tests.sagas.travel.trips.contracts import TripPlanned
from tests.sagas.travelling import TRIP, Travel, travelling


class BookTrip(trips.BookTrip):
    """The second version: one seat is enough, and it is another one."""

    version = 2

    def plan(self, event: TripPlanned) -> Plan:
        """One step."""
        of = event.trip_id
        return Plan(Step("z", Book(of, "z"), undo=Unbook(of, "z")), failed=super().plan(event).failed)


Second = BookTrip


class OnlySecond(Second):
    """The second version, which does not know the first any more."""

    oldest_version = 2


OnlySecond.__name__ = "BookTrip"

clerks = Clerks()
second = System("travel", [trips.trips(clerks, Second), stations(clerks)])
only_second = System("travel", [trips.trips(clerks, OnlySecond), stations(clerks)])
stations_alone = System("stations", [stations(clerks)])
without = System("travel", [trips.trips(clerks, None), stations(clerks)])


async def begin(data: Path, clerks: Clerks) -> None:
    """Begin a trip with the first version, and close the system while its first step is left open."""
    clerks.tell("book a", "defer")
    async with travelling(data, clerks=clerks) as travel:
        await travel.plan("a", "b")
        await travel.clerks.until_asked("book a")
        await travel.system.settled()


async def is_suspended(travel: Travel) -> bool:
    """Whether health names the saga."""
    return any(
        state.severity is Severity.DEGRADED
        and f"BookTrip/{TRIP} began with version 1, which is retired" in state.detail
        for state in await travel.health("trips")
    )


async def is_let_go(travel: Travel) -> bool:
    """Whether nothing of the saga waits, and nothing is said of it."""
    return await travel.is_idle("trips") and not await is_suspended(travel)


@pytest.mark.parametrize(("booked", "happened"), [(True, ["+a", "+b"]), (False, [])])
async def test_an_instance_runs_on_the_version_that_it_began_with(
    tmp_path: Path, booked: bool, happened: list[str]
) -> None:
    """The plan is kept; only those that begin later have the new one."""
    clerks = Clerks()
    await begin(tmp_path, clerks)
    async with travelling(tmp_path, clerks=clerks, saga=Second) as travel:
        await travel.execute(Confirm(TRIP, "a", booked=booked))
        assert await travel.ended() is (End.COMPLETED if booked else End.COMPENSATED)
        assert await travel.booked() == happened
        saga = await travel.saga()
        assert saga is not None
        assert saga.plan.saga_version == 1


async def test_what_begins_later_has_the_new_version(tmp_path: Path) -> None:
    """It is recorded with it."""
    async with travelling(tmp_path, saga=Second) as travel:
        await travel.plan("a", "b")
        assert await travel.ended() is End.COMPLETED
        assert await travel.booked() == ["+z"]
        saga = await travel.saga()
        assert saga is not None
        assert saga.plan.saga_version == 2


async def test_an_instance_of_a_retired_version_is_suspended_and_named(tmp_path: Path) -> None:
    """The service runs; the answer stays in line, and is heard before the time-out when the version is back."""
    clerks = Clerks()
    await begin(tmp_path, clerks)
    async with travelling(tmp_path, clerks=clerks, saga=OnlySecond) as travel:
        before = await travel.history()
        await travel.execute(Confirm(TRIP, "a", booked=True))
        await travel.until(lambda: is_suspended(travel))
        for _ in range(21):
            await travel.pass_time(10)
        assert await travel.history() == before
        assert await travel.trips.inbox.parked_count() == 0
        assert await is_suspended(travel)
    async with travelling(tmp_path, clerks=clerks, passed_seconds=215) as travel:
        await travel.pass_time_until(lambda: travel.is_at(End.COMPLETED))
        assert await travel.booked() == ["+a", "+b"]


async def test_an_instance_of_a_retired_version_is_named_before_anything_comes_for_it(tmp_path: Path) -> None:
    """From the start on, for as long as it lives; one that was closed is not, though its time-out is set still."""
    clerks = Clerks()
    await begin(tmp_path, clerks)
    async with travelling(tmp_path, clerks=clerks, saga=Second) as travel:
        assert not await is_suspended(travel)
    for _ in range(2):
        async with travelling(tmp_path, clerks=clerks, only=[], saga=OnlySecond) as travel:
            assert await is_suspended(travel)
    async with travelling(tmp_path, clerks=clerks, saga=OnlySecond) as travel:
        await travel.steer("close")
        await travel.until(lambda: is_let_go(travel))
    async with travelling(tmp_path, clerks=clerks, only=[], saga=OnlySecond) as travel:
        assert await travel.trips.timers.next_due() is not None
        assert not await is_suspended(travel)


async def test_an_instance_of_a_retired_version_is_closed_by_hand(tmp_path: Path) -> None:
    """It is named no longer, and what comes for it is let go."""
    clerks = Clerks()
    await begin(tmp_path, clerks)
    async with travelling(tmp_path, clerks=clerks, saga=OnlySecond) as travel:
        await travel.execute(Confirm(TRIP, "a", booked=True))
        await travel.until(lambda: is_suspended(travel))
        await travel.steer("close")
        assert await travel.ended() is End.COMPENSATION_FAILED
        await travel.pass_time_until(lambda: is_let_go(travel))


def check(system: str, data: Path) -> Result:
    """What `colonnade check` says of one of the systems above."""
    return CliRunner().invoke(app, ["check", f"{__name__}:{system}", "--data", str(data)])


def test_a_version_is_not_retired_while_instances_of_it_live(tmp_path: Path) -> None:
    """The check names them, and what to do."""
    asyncio.run(begin(tmp_path, Clerks()))
    assert check("second", tmp_path).exit_code == 0
    retired = check("only_second", tmp_path)
    assert retired.exit_code == 1
    assert retired.stdout == (
        f"the saga BookTrip of trips: BookTrip/{TRIP} has not ended and began with version 1, which is retired; keep "
        "its oldest_version at 1 until it has ended, or close it by hand (colonnade sagas close).\n"
    )
    gone = check("without", tmp_path)
    assert gone.exit_code == 1
    assert gone.stdout == (
        f"the saga BookTrip of trips: BookTrip/{TRIP} has not ended and its definition is gone; keep it until it has "
        "ended, or close it by hand (colonnade sagas close).\n"
    )


def test_the_sagas_of_another_system_are_not_looked_at(tmp_path: Path) -> None:
    """Its data may lie where the check looks."""
    asyncio.run(begin(tmp_path, Clerks()))
    assert check("stations_alone", tmp_path).exit_code == 0


def test_a_version_is_retired_once_its_instances_have_ended(tmp_path: Path) -> None:
    """However they ended."""

    async def begin_and_end() -> None:
        clerks = Clerks()
        await begin(tmp_path, clerks)
        async with travelling(tmp_path, clerks=clerks) as travel:
            await travel.execute(Confirm(TRIP, "a", booked=False))
            await travel.ended()

    asyncio.run(begin_and_end())
    assert check("only_second", tmp_path).exit_code == 0
    assert check("without", tmp_path).exit_code == 0


def test_data_that_is_not_there_is_no_reason_to_pass(tmp_path: Path) -> None:
    """Named on the command line, it has to be there."""
    missing = check("second", tmp_path / "elsewhere")
    assert missing.exit_code == 1
    assert "elsewhere" in missing.stderr
