"""Sagas in a running system: what is done, refused, undone and told."""

from pathlib import Path

from colonnade.workers.sagas.history import End
from tests.sagas.travel.trips import CancelTrip
from tests.sagas.travelling import TRIP, travelling


async def test_a_trip_is_booked_and_told(tmp_path: Path) -> None:
    """Each step when the one before it is done, and `completed` at the end."""
    async with travelling(tmp_path) as travel:
        await travel.plan("a", "b", "c")
        assert await travel.ended() is End.COMPLETED
        assert await travel.booked() == ["+a", "+b", "+c"]
        assert await travel.told() == [("TripBooked", {})]
        await travel.system.settled()


async def test_a_refused_step_is_undone_in_reverse(tmp_path: Path) -> None:
    """What was done is undone, the last first; the `failed` command carries the step and the code of its refusal."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book c", "refuse")
        await travel.plan("a", "b", "c", "d")
        assert await travel.ended() is End.COMPENSATED
        assert await travel.booked() == ["+a", "+b", "-b", "-a"]
        assert await travel.told() == [("TripFailed", {"step": "c", "code": "stations.Full"})]


async def test_a_refused_completion_compensates(tmp_path: Path) -> None:
    """Whoever is told that all is done may refuse: then all is undone."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("complete", "refuse")
        await travel.plan("a", "b")
        assert await travel.ended() is End.COMPENSATED
        assert await travel.booked() == ["+a", "+b", "-b", "-a"]
        assert await travel.told() == [("TripFailed", {"step": "(completed)", "code": "trips.NotNow"})]


async def test_steps_together_run_beside_each_other(tmp_path: Path) -> None:
    """They do not wait for each other; what one refuses undoes the others, also those not answered yet."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book b", "wait")
        await travel.plan("a", "b c", "d")
        await travel.clerks.until_asked("book b")
        await travel.clerks.until_asked("book c")
        assert travel.clerks.asked["book d"] == 0
        travel.clerks.may_go_on.set()
        assert await travel.ended() is End.COMPLETED
        assert sorted(await travel.booked()) == ["+a", "+b", "+c", "+d"]


async def test_cancelling_is_a_message_to_the_saga(tmp_path: Path) -> None:
    """It stops, undoes what was done and what may have been, and tells why."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book b", "defer")
        await travel.plan("a", "b", "c")
        await travel.clerks.until_asked("book b")
        await travel.execute(CancelTrip(TRIP))
        assert await travel.ended() is End.COMPENSATED
        assert await travel.booked() == ["+a", "-b", "-a"]
        assert await travel.told() == [("TripFailed", {"step": "", "code": "cancelled"})]
        await travel.execute(CancelTrip(TRIP))
        await travel.system.settled()
        assert await travel.ended() is End.COMPENSATED
