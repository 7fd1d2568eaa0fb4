"""Sagas whose answers come late, or not at all."""

from pathlib import Path

from colonnade.persistence.unit import Park
from colonnade.workers.sagas.history import End, StepAnswered
from colonnade.workers.sagas.instance import TIMED_OUT
from colonnade.workers.sagas.messages import consumer_of
from tests.sagas.travel.stations import Confirm
from tests.sagas.travelling import TRIP, Travel, travelling

SAGA_LINE = consumer_of("BookTrip")


async def timed_out(travel: Travel) -> bool:
    """Whether a time-out was heard."""
    return any(isinstance(event, StepAnswered) and event.code == TIMED_OUT for event in await travel.history())


async def has_come_due(travel: Travel) -> bool:
    """Whether a time-out lies in the inbox of the saga."""
    messages = await travel.trips.inbox.due(travel.now() + 60_000_000, 100, consumer=SAGA_LINE)
    return any(message.lane == "timers" for message in messages)


async def test_a_step_that_is_not_answered_is_undone(tmp_path: Path) -> None:
    """Its handler goes on meanwhile, and does not do it any more: the command says until when it may be done."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book b", "wait")
        await travel.plan("a", "b", "c")
        await travel.clerks.until_asked("book b")
        await travel.pass_time(61)
        await travel.pass_time_until(lambda: timed_out(travel))
        travel.clerks.may_go_on.set()
        assert await travel.ended() is End.COMPENSATED
        assert await travel.booked() == ["+a", "-a"]
        assert await travel.told() == [("TripFailed", {"step": "b", "code": "timed-out"})]


async def test_a_command_that_waited_beyond_its_time_is_refused(tmp_path: Path) -> None:
    """It is not even handed to its handler."""
    async with travelling(tmp_path, without=["stations.worker"]) as travel:
        await travel.plan("a")
        await travel.until(lambda: travel.waits("stations"))
        await travel.pass_time(61)
        await travel.start("stations.worker")
        assert await travel.ended() is End.COMPENSATED
        assert travel.clerks.asked["book a"] == 0
        ((_, told),) = await travel.told()
        assert told == {"step": "a", "code": "stations.Expired"}


async def test_a_late_success_is_undone_again(tmp_path: Path) -> None:
    """What was left open is undone when its time is over, and once more when it was done after all."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book b", "defer")
        await travel.plan("a", "b", "c")
        await travel.clerks.until_asked("book b")
        await travel.system.settled()
        await travel.pass_time(61)
        await travel.pass_time_until(lambda: timed_out(travel))
        assert await travel.ended() is End.COMPENSATED
        assert await travel.booked() == ["+a", "-b", "-a"]
        await travel.execute(Confirm(TRIP, "b", booked=True))
        await travel.system.settled()
        assert await travel.booked() == ["+a", "-b", "-a", "+b", "-b"]
        assert await travel.ended() is End.COMPENSATED
        assert len(await travel.told()) == 1


async def test_a_late_refusal_changes_nothing(tmp_path: Path) -> None:
    """What was undone while it was open, and then was not done, stays undone."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book a", "defer")
        await travel.plan("a", seconds=5)
        await travel.clerks.until_asked("book a")
        await travel.pass_time(6)
        await travel.pass_time_until(lambda: timed_out(travel))
        assert await travel.ended() is End.COMPENSATED
        before = await travel.history()
        await travel.execute(Confirm(TRIP, "a", booked=False))
        await travel.system.settled()
        assert await travel.booked() == ["-a"]
        assert await travel.history() == before


async def test_an_answer_that_was_sent_in_time_is_heard_before_the_time_out(tmp_path: Path) -> None:
    """It was on its way when the time-out came due: for a second the saga waits for it."""
    async with travelling(tmp_path, without=["stations.relay"]) as travel:
        await travel.plan("a")
        await travel.until(lambda: travel.has_answered())
        await travel.pass_time(60)
        await travel.until(lambda: has_come_due(travel))
        await travel.pass_time(0.9)
        await travel.start("stations.relay")
        assert await travel.ended() is End.COMPLETED
        assert not await timed_out(travel)


async def test_an_answer_that_lies_in_the_inbox_is_heard_before_the_time_out(tmp_path: Path) -> None:
    """Its line is slow, and the second is over: the saga waits while the grace lasts, and no longer."""
    async with travelling(tmp_path, without=["stations.relay"]) as travel:
        await travel.publish_what_fails()
        await travel.plan("a")
        await travel.until(lambda: travel.has_answered())
        await travel.start("stations.relay")
        await travel.until(lambda: travel.waits("trips", 2))
        await travel.pass_time(60)
        await travel.until(lambda: has_come_due(travel))
        for _ in range(19):
            await travel.pass_time(0.5)
            await travel.system.runtime.services["trips"].worker.look_again()
        assert not await timed_out(travel)
        await travel.pass_time_until(lambda: timed_out(travel))
        await travel.until(lambda: travel.has_happened("+a", "-a"))


async def test_a_saga_behind_a_parked_message_times_out(tmp_path: Path) -> None:
    """Its answer waits behind a message that was given up; the saga takes it for lost, and undoes the step."""
    async with travelling(tmp_path, without=["stations.relay"]) as travel:
        await travel.publish_what_fails()
        await travel.start("stations.relay")
        await travel.until(lambda: travel.waits("trips"))
        (failing,) = await travel.trips.inbox.due(travel.now() + 60_000_000, 1, consumer=SAGA_LINE)
        await travel.commit(travel.trips, Park(failing.row, 25, "nobody can read it", hold=True))
        await travel.plan("a")
        await travel.until(lambda: travel.has_happened("+a"))
        await travel.system.settled()
        await travel.pass_time(60)
        await travel.until(lambda: has_come_due(travel))
        await travel.pass_time_until(lambda: timed_out(travel))
        await travel.until(lambda: travel.has_happened("+a", "-a"))
