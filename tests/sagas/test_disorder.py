"""Sagas whose messages come twice, in the wrong order, or to handlers that fail."""

from pathlib import Path

import msgspec
import pytest

from colonnade.messages.envelope import Envelope
from colonnade.persistence.addresses import HANDLERS
from colonnade.persistence.reply_keys import Direction, ReplyKey
from colonnade.persistence.unit import Deliver, Publish
from colonnade.workers.sagas.history import End
from colonnade.workers.sagas.messages import TIMEOUT, consumer_of
from tests.sagas.travel.clerks import Doing
from tests.sagas.travel.stations import Confirm
from tests.sagas.travel.trips import CancelTrip
from tests.sagas.travelling import TRIP, Travel, travelling


async def repeat(travel: Travel) -> None:
    """Send all that the stations answered once more."""
    rows = [row for row in await travel.stations.outbox.pending(0, 100) if row.topic == "trips.replies"]
    assert rows
    await travel.commit(
        travel.stations, *(Publish(row.topic, row.key, row.id, row.envelope) for row in rows)
    )  # fmt: skip
    await travel.system.settled()


async def armed(travel: Travel) -> list[tuple[str, str]]:
    """What the saga waits for with a timer: the timers' names and the steps."""
    timers = await travel.trips.timers.due(1 << 60, 100)
    decoded = [(each.name, Envelope.decode(each.message.envelope)) for each in timers]
    return sorted(
        (name, msgspec.json.decode(envelope.data)["step"]) for name, envelope in decoded if envelope.type == TIMEOUT
    )


@pytest.mark.parametrize("seats", [("a", "b", "c"), ("a", "b c"), ("a b c",)])
async def test_answers_that_come_twice_change_nothing(tmp_path: Path, seats: tuple[str, ...]) -> None:
    """Neither while the saga waits for another, nor after its end."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book c", "defer")
        await travel.plan(*seats)
        await travel.clerks.until_asked("book c")
        await travel.system.settled()
        before, timers = await travel.history(), await armed(travel)
        assert len(timers) == 1
        await repeat(travel)
        assert (await travel.history(), await armed(travel)) == (before, timers)
        await travel.execute(Confirm(TRIP, "c", booked=True))
        assert await travel.ended() is End.COMPLETED
        await travel.system.settled()
        assert await armed(travel) == []
        before = await travel.history()
        await repeat(travel)
        assert await travel.history() == before
        assert sorted(await travel.booked()) == ["+a", "+b", "+c"]


async def test_undoings_are_answered_twice_and_done_once(tmp_path: Path) -> None:
    """An answer that comes again while the saga goes on undoing takes it no further."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book c", "refuse")
        travel.clerks.tell("unbook a", "defer")
        await travel.plan("a", "b", "c")
        await travel.clerks.until_asked("unbook a")
        await travel.system.settled()
        before = await travel.history()
        await repeat(travel)
        assert await travel.history() == before
        assert await travel.booked() == ["+a", "+b", "-b"]


async def test_an_undoing_that_comes_before_its_step_prevents_it(tmp_path: Path) -> None:
    """It leaves a tombstone, and the step is refused when it comes."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book a", "fail", "fail")  # at once, and by the worker
        await travel.plan("a")
        await travel.clerks.until_asked("book a", 2)
        await travel.until(lambda: travel.fails("stations"))
        await travel.commit(travel.stations, Deliver(HANDLERS, "undo", await travel.undoing("a")))
        await travel.until(lambda: travel.is_undone("a"))
        await travel.pass_time_until(lambda: travel.is_at(End.COMPENSATED))
        assert await travel.booked() == []
        assert (travel.clerks.asked["book a"], travel.clerks.asked["unbook a"]) == (2, 0)
        assert await travel.told() == [("TripFailed", {"step": "a", "code": "stations.Undone"})]


async def test_a_step_that_comes_after_its_undoing_is_refused(tmp_path: Path) -> None:
    """Though it comes for the first time, and would be done at once: what it would do comes to nothing."""
    async with travelling(tmp_path, without=["trips.relay"]) as travel:
        await travel.plan("a")
        await travel.commit(travel.stations, Deliver(HANDLERS, "undo", await travel.undoing("a")))
        await travel.until(lambda: travel.is_undone("a"))
        await travel.start("trips.relay")
        await travel.pass_time_until(lambda: travel.is_at(End.COMPENSATED))
        assert await travel.booked() == []
        assert travel.clerks.asked["unbook a"] == 0
        assert await travel.told() == [("TripFailed", {"step": "a", "code": "stations.Undone"})]


async def test_a_step_and_its_undoing_at_the_same_time_leave_nothing_done(tmp_path: Path) -> None:
    """Where they meet in lines of their own, one of them gives way: the step is undone, or refused."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book a", "wait")
        await travel.plan("a")
        await travel.clerks.until_asked("book a")
        await travel.commit(travel.stations, Deliver(HANDLERS, "undo", await travel.undoing("a")))
        await travel.until(lambda: travel.is_undone("a"))
        travel.clerks.may_go_on.set()
        await travel.pass_time_until(lambda: travel.is_at(End.COMPENSATED))
        assert await travel.booked() == []


async def test_a_step_whose_handler_fails_is_tried_until_its_time_is_over(tmp_path: Path) -> None:
    """A failure is no refusal: the step may be done still; then it is undone like one of unknown outcome."""
    always: list[Doing] = ["fail"] * 100
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book b", *always)
        await travel.plan("a", "b")
        await travel.pass_time_until(lambda: travel.is_at(End.COMPENSATED), step_seconds=5)
        assert await travel.booked() == ["+a", "-a"]
        assert travel.clerks.asked["book b"] > 3
        assert travel.clerks.asked["unbook b"] == 0
        await travel.system.settled()


async def test_a_step_whose_handler_fails_at_first_is_done(tmp_path: Path) -> None:
    """Once, when it is tried again."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book b", "fail", "fail")
        await travel.plan("a", "b")
        await travel.pass_time_until(lambda: travel.is_at(End.COMPLETED))
        assert await travel.booked() == ["+a", "+b"]
        assert travel.clerks.asked["book b"] == 3


@pytest.mark.parametrize(("booked", "end"), [(True, End.COMPLETED), (False, End.COMPENSATED)])
async def test_a_step_that_is_left_open_is_answered_when_it_is_settled(tmp_path: Path, booked: bool, end: End) -> None:
    """With the outcome that it has then; to settle it again changes nothing."""
    async with travelling(tmp_path) as travel:
        travel.clerks.tell("book a", "defer")
        await travel.plan("a")
        await travel.clerks.until_asked("book a")
        await travel.system.settled()
        await travel.execute(Confirm(TRIP, "a", booked=booked))
        assert await travel.ended() is end
        before = await travel.history()
        await travel.execute(Confirm(TRIP, "a", booked=not booked))
        await travel.system.settled()
        assert await travel.history() == before


async def two_wait_under_one_key(travel: Travel) -> None:
    """Two steps of one trip, whose outcome is told at once for both."""
    for seat in ("a", "a*"):
        travel.clerks.tell(f"book {seat}", "defer")
    await travel.plan("a a*")
    await travel.clerks.until_asked("book a")
    await travel.clerks.until_asked("book a*")
    await travel.system.settled()


async def test_all_who_wait_for_one_outcome_are_answered(tmp_path: Path) -> None:
    """Though they asked under one key, and one after the other."""
    async with travelling(tmp_path) as travel:
        await two_wait_under_one_key(travel)
        await travel.execute(Confirm(TRIP, "a", booked=True))
        assert await travel.ended() is End.COMPLETED


async def test_all_who_wait_for_one_outcome_are_refused(tmp_path: Path) -> None:
    """None of them counts as left open or done after that: there is nothing to undo."""
    async with travelling(tmp_path) as travel:
        await two_wait_under_one_key(travel)
        await travel.execute(Confirm(TRIP, "a", booked=False))
        assert await travel.ended() is End.COMPENSATED
        assert (travel.clerks.asked["unbook a"], travel.clerks.asked["unbook a*"]) == (0, 0)


async def test_a_cancellation_that_overtakes_the_event_waits_for_it(tmp_path: Path) -> None:
    """The saga begins, and is stopped before it has done anything that stays."""
    async with travelling(tmp_path, without=["trips.worker"]) as travel:
        await travel.execute(CancelTrip(TRIP))
        await travel.start("trips.worker")
        await travel.until(lambda: travel.fails("trips"))
        await travel.plan("a")
        await travel.pass_time_until(lambda: travel.is_at(End.COMPENSATED))
        assert await travel.booked() in ([], ["+a", "-a"])
        assert await travel.told() == [("TripFailed", {"step": "", "code": "cancelled"})]


def test_a_reply_key_is_read_as_it_was_written() -> None:
    """Whatever signs the id of a step has."""
    for direction in Direction:
        key = ReplyKey(consumer_of("BookTrip"), str(TRIP), "a|do|1|b", direction, 12)
        assert ReplyKey.parse(str(key)) == key


async def test_each_step_that_waits_has_a_timer_of_its_own(tmp_path: Path) -> None:
    """Those of one stage beside each other; the next stage takes them over, and so does what tells the end."""
    async with travelling(tmp_path) as travel:
        for seat in "abcd":
            travel.clerks.tell(f"book {seat}", "defer")
        await travel.plan("a b", "c", "d")
        for seat in "ab":
            await travel.clerks.until_asked(f"book {seat}")
        await travel.system.settled()
        assert [step for _, step in await armed(travel)] == ["a", "b"]
        for seat, waiting in [("b", ["a"]), ("a", ["c"]), ("c", ["d"]), ("d", [])]:
            await travel.execute(Confirm(TRIP, seat, booked=True))
            await travel.system.settled()
            assert [step for _, step in await armed(travel)] == waiting
        assert await travel.ended() is End.COMPLETED
