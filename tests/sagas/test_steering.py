"""Stuck sagas, and people who take them further."""

from pathlib import Path

import pytest

from colonnade.system.admin.operations import OperationFailed
from colonnade.workers.sagas.history import End, SagaEnded
from colonnade.workers.sagas.instance import StepState
from tests.sagas.travel.stations import Confirm
from tests.sagas.travelling import TRIP, Travel, travelling


async def told_stuck(travel: Travel) -> str:
    """What health says of sagas that wait."""
    states = await travel.health("trips")
    return "".join(state.detail for state in states if state.name == "trips.waiting")


async def gave_up_undoing(travel: Travel) -> None:
    """A trip whose first seat could not be given back."""
    travel.clerks.tell("book b", "refuse")
    travel.clerks.tell("unbook a", "refuse")
    await travel.plan("a", "b")
    assert await travel.ended() is End.COMPENSATION_FAILED
    assert await travel.booked() == ["+a"]


async def test_what_could_not_be_undone_is_retried(tmp_path: Path) -> None:
    """Asked for again it is undone, and the saga is compensated after all."""
    async with travelling(tmp_path) as travel:
        await gave_up_undoing(travel)
        await travel.steer("retry")
        await travel.until(lambda: travel.is_at(End.COMPENSATED))
        assert await travel.booked() == ["+a", "-a"]
        assert await travel.told() == [("TripFailed", {"step": "b", "code": "stations.Full"})]


async def test_what_could_not_be_undone_is_skipped(tmp_path: Path) -> None:
    """Somebody has seen to it: it counts as undone."""
    async with travelling(tmp_path) as travel:
        await gave_up_undoing(travel)
        await travel.steer("skip", "a")
        await travel.until(lambda: travel.is_at(End.COMPENSATED))
        assert await travel.booked() == ["+a"]


async def test_a_refused_notice_of_failure_is_retried(tmp_path: Path) -> None:
    """Also one that was left open first: it is handed to its handler again."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("fail", "refuse")
        travel.clerks.tell("book a", "refuse")
        await travel.plan("a")
        assert await travel.ended() is End.COMPENSATION_FAILED
        assert await travel.told() == []
        await travel.steer("retry")
        await travel.until(lambda: travel.is_at(End.COMPENSATED))
        assert await travel.told() == [("TripFailed", {"step": "a", "code": "stations.Full"})]


async def test_a_step_is_asked_for_again(tmp_path: Path) -> None:
    """It is done once, however often it is asked for; its time begins anew."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book a", "defer")
        await travel.plan("a")
        await travel.clerks.until_asked("book a")
        await travel.system.settled()
        await travel.pass_time(59)
        await travel.steer("retry")
        await travel.system.settled()
        await travel.pass_time(59)
        await travel.execute(Confirm(TRIP, "a", booked=True))
        assert await travel.ended() is End.COMPLETED
        assert travel.clerks.asked["book a"] == 1
        assert await travel.booked() == ["+a"]


async def test_a_retry_counts_although_the_time_is_just_over(tmp_path: Path) -> None:
    """The time-out of what was asked for before is ignored."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book a", "defer")
        await travel.plan("a")
        await travel.clerks.until_asked("book a")
        await travel.system.settled()
        await travel.pass_time(60)
        await travel.until(lambda: travel.waits("trips"))
        await travel.steer("retry")
        await travel.pass_time_until(lambda: travel.is_idle("trips"))
        saga = await travel.saga()
        assert saga is not None
        assert saga.steps == {"a": StepState.ASKED}


async def test_what_was_left_open_and_asked_for_again_is_answered_once_for_both(tmp_path: Path) -> None:
    """Its refusal is that of every asking."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book b", "defer")
        await travel.plan("a", "b")
        await travel.clerks.until_asked("book b")
        await travel.system.settled()
        await travel.steer("retry")
        await travel.system.settled()
        await travel.execute(Confirm(TRIP, "b", booked=False))
        assert await travel.ended() is End.COMPENSATED
        assert travel.clerks.asked["book b"] == 1
        assert await travel.booked() == ["+a", "-a"]


async def test_an_undoing_that_was_left_open_and_refused_is_retried(tmp_path: Path) -> None:
    """It is handed to its handler again."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book b", "refuse")
        travel.clerks.tell("unbook a", "defer")
        await travel.plan("a", "b")
        await travel.clerks.until_asked("unbook a")
        await travel.system.settled()
        await travel.execute(Confirm(TRIP, "a", booked=False))
        assert await travel.ended() is End.COMPENSATION_FAILED
        await travel.steer("retry")
        await travel.until(lambda: travel.is_at(End.COMPENSATED))
        assert await travel.booked() == ["+a", "-a"]


async def test_an_undoing_that_was_answered_while_the_saga_was_closed_is_answered_again(tmp_path: Path) -> None:
    """It was settled, and nobody heard of it: asked for again it is answered at once, and not done twice."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book b", "refuse")
        travel.clerks.tell("unbook a", "defer")
        await travel.plan("a", "b")
        await travel.clerks.until_asked("unbook a")
        await travel.system.settled()
        await travel.steer("close")
        await travel.system.settled()
        await travel.execute(Confirm(TRIP, "a", booked=True))
        await travel.system.settled()
        assert await travel.ended() is End.COMPENSATION_FAILED
        await travel.steer("retry")
        await travel.until(lambda: travel.is_at(End.COMPENSATED))
        assert travel.clerks.asked["unbook a"] == 1


async def test_a_step_is_skipped(tmp_path: Path) -> None:
    """The saga goes on as if it had been done."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book a", "defer")
        await travel.plan("a", "b")
        await travel.clerks.until_asked("book a")
        await travel.steer("skip", "a")
        assert await travel.ended() is End.COMPLETED
        assert await travel.booked() == ["+b"]


async def test_a_saga_is_closed_as_it_stands(tmp_path: Path) -> None:
    """Nothing is done or undone any more, and answers are not heard."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book b", "defer")
        await travel.plan("a", "b")
        await travel.clerks.until_asked("book b")
        await travel.steer("close")
        assert await travel.ended() is End.COMPENSATION_FAILED
        await travel.execute(Confirm(TRIP, "b", booked=True))
        await travel.pass_time(61)
        await travel.pass_time_until(lambda: travel.is_idle("trips"))
        assert await travel.booked() == ["+a", "+b"]
        assert (await travel.history())[-1] == SagaEnded(End.COMPENSATION_FAILED, by_hand=True)


async def test_a_saga_whose_completion_is_not_answered_is_stuck_and_says_so(tmp_path: Path) -> None:
    """Nobody knows whether it is complete; somebody compensates, and whatever times out then is heard of."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("complete", "wait", "wait")
        travel.clerks.tell("unbook a", "wait", "wait")
        await travel.plan("a")
        await travel.clerks.until_asked("complete", 2)
        await travel.pass_time(60)
        await travel.pass_time_until(lambda: told(travel))
        assert f"BookTrip/{TRIP} is stuck: it waits for the answer to trips.CompleteTrip" in await told_stuck(travel)
        await travel.steer("compensate")
        await travel.clerks.until_asked("unbook a")
        await travel.pass_time(3_600)
        await travel.pass_time_until(lambda: travel.is_at(End.COMPENSATION_FAILED), step_seconds=5)
        await travel.pass_time_until(lambda: told_nothing(travel))


async def told(travel: Travel) -> bool:
    """Whether health says something of sagas that wait."""
    return bool(await told_stuck(travel))


async def told_nothing(travel: Travel) -> bool:
    """Whether it says nothing."""
    return not await told(travel)


async def test_what_cannot_be_done_by_hand_is_said(tmp_path: Path) -> None:
    """A saga that there is not, and a step that is not named."""
    async with travelling(tmp_path) as travel:
        with pytest.raises(OperationFailed, match="no saga"):
            await travel.steer("retry")
        await travel.plan("a")
        await travel.ended()
        with pytest.raises(OperationFailed, match="step is named"):
            await travel.steer("skip")
