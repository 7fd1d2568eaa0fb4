"""Messages done at once: in the commit that brings them, and never before what waits in their line."""

import asyncio
import time
from pathlib import Path
from typing import NoReturn
from uuid import UUID

import pytest

from colonnade.messages.codec import MessageCodec
from colonnade.messages.envelope import Envelope
from colonnade.messages.names import MessageNames
from colonnade.observability.correlation import Context
from colonnade.persistence.addresses import Routes
from colonnade.persistence.failures import NotAtOnce, VersionConflict
from colonnade.persistence.store import Committed, DueMessage, Touched
from colonnade.persistence.unit import Append, Defer, NewEvent, Settle, Unit, Write
from colonnade.workers.at_once import AtOnce, joint
from colonnade.workers.at_once.committing import BUSY_LINES
from colonnade.workers.at_once.joint import JOINED
from colonnade.workers.at_once.trying import REMEMBERED, REST_SECONDS
from colonnade.workers.commands import CommandConsumer
from colonnade.world import datetime_of
from tests.workers.bench import always, times
from tests.workers.counter import WORK, a_counter, beside, message
from tests.workers.hands import START_MICROS, WITHIN_SECONDS, envelope

KEYS = ("a", "b", "c")


def noted(stream: str, expected: int = 0) -> Append:
    """One event in a stream."""
    return Append(stream, expected, [NewEvent(UUID(int=len(stream)), "Noted", 1, b"{}")])


async def test_what_a_unit_sends_to_its_own_service_is_done_with_it(tmp_path: Path) -> None:
    """When the commit returns it is done, in the context of its own message, and was never in the inbox."""
    async with a_counter(tmp_path) as counter:
        await counter.do(noted("Sale/1"), message("a", "1"), message("b", "2"))
        assert (await counter.done("a"), await counter.done("b")) == (["1"], ["2"])
        assert not counter.was_in_the_inbox
        assert {context.correlation_id for context in counter.clerk.contexts} == {UUID(int=7)}


async def test_for_whom_a_message_was_done_is_told(tmp_path: Path) -> None:
    """The worker's backlog rests beside messages that never come to the worker."""
    async with a_counter(tmp_path) as counter:
        told: list[str] = []
        counter.at_once.open({WORK: counter.clerk}, told.append)
        await counter.do(message("a", "1"), message("b", "2"))
        assert told == [WORK, WORK]


async def test_what_follows_from_it_is_done_as_well(tmp_path: Path) -> None:
    """A message of a message goes with them, as far as it goes."""
    async with a_counter(tmp_path) as counter:
        counter.clerk.sends = {"a": [message("b", "2")], "b": [message("c", "3")]}
        await counter.do(message("a", "1"))
        assert await counter.done("c") == ["3"]
        assert not counter.was_in_the_inbox


async def test_messages_without_end_come_to_an_end(tmp_path: Path) -> None:
    """Each sends the next: a commit takes a number of them, and the rest waits in the inbox."""
    async with a_counter(tmp_path) as counter:
        for number in range(200):
            counter.clerk.sends[str(number)] = [message(str(number + 1), "on")]
        await counter.do(message("0", "on"))
        assert await counter.done("5") == ["on"]
        assert await counter.done("199") == []
        assert await counter.store.inbox.unhandled() == 1


async def test_a_second_message_of_a_line_waits_for_the_first(tmp_path: Path) -> None:
    """Of one unit's messages to a line the first is done, and the others are taken in behind it."""
    async with a_counter(tmp_path, worker=True) as counter:
        await counter.do(message("a", "1"), message("a", "2"), message("a", "3"))
        await counter.until_done("a", "1", "2", "3")


async def test_a_message_does_not_overtake_one_that_waits(tmp_path: Path) -> None:
    """While an earlier one of its line is in the inbox it goes there too, and so does the next."""
    async with a_counter(tmp_path, worker=True) as counter:
        counter.clerk.faults["a"] = times(2, lambda: RuntimeError("not now"))
        await counter.do(message("a", "1"))
        await counter.do(message("a", "2"))
        counter.clock.advance(3_600.0)
        await counter.worker.look_again()
        await counter.do(message("a", "3"))
        await counter.until_done("a", "1", "2", "3")


async def test_what_fails_is_left_to_the_worker(tmp_path: Path) -> None:
    """The unit that brings it is committed without it, and the others with it; the worker counts and tells."""
    async with a_counter(tmp_path, worker=True) as counter:
        counter.clerk.faults["a"] = always("no")
        await counter.do(noted("Sale/1"), message("a", "1"), message("b", "2"))
        assert len(await counter.store.log.stream("Sale/1")) == 1
        assert await counter.done("b") == ["2"]

        async def is_told() -> bool:
            return any(state.name == "shop.failing" for state in counter.worker.health())

        await counter.commits.until(is_told)
        assert await counter.done("a") == []


async def test_what_takes_long_is_left_to_the_worker(tmp_path: Path) -> None:
    """It is given up, its kind rests for a while, for longer each time, and is tried again then."""
    async with a_counter(tmp_path, worker=True) as counter:
        counter.clerk.gates["a"] = asyncio.Event()
        await counter.do(noted("Sale/1"), message("a", "1"))
        assert len(await counter.store.log.stream("Sale/1")) == 1
        counter.clerk.gates["a"].set()
        await counter.until_done("a", "1")
        counter.touched.clear()
        await counter.do(message("b", "2"))
        await counter.until_done("b", "2")
        assert counter.was_in_the_inbox
        counter.touched.clear()
        counter.clock.advance(REST_SECONDS)
        await counter.do(message("b", "3"))
        assert await counter.done("b") == ["2", "3"]
        assert not counter.was_in_the_inbox


async def test_a_unit_with_sql_is_committed_by_itself(tmp_path: Path) -> None:
    """It takes nobody with it, and joins nobody: long transactions are nobody else's."""
    async with a_counter(tmp_path, worker=True) as counter:
        await counter.store.define(["CREATE TABLE notes (note TEXT)"])
        note = Write("INSERT INTO notes VALUES (?)", ("x",))
        await counter.do(note, message("a", "1"))
        await counter.until_done("a", "1")
        assert counter.was_in_the_inbox
        counter.touched.clear()
        counter.clerk.sends["b"] = [note]
        await counter.do(message("b", "2"))
        await counter.until_done("b", "2")
        assert counter.was_in_the_inbox
        ((rows),) = await counter.store.query([("SELECT count(*) FROM notes", ())])
        assert rows == [(2,)]


async def test_what_is_left_open_is_there_for_who_settles_it(tmp_path: Path) -> None:
    """A unit that leaves something open, or settles it, is committed before its messages are handled: they may look."""
    async with a_counter(tmp_path) as counter:
        await counter.do(Defer("order 7", "shop", "Saga|7|pay|do|1"), message("a", "1"))
        await counter.do(Settle("order 7", "shop", "Saga|7|pay|do|1"), message("b", "2"))
        assert counter.clerk.tried == []
        assert await counter.store.inbox.unhandled() == 2


@pytest.mark.parametrize(("asking", "not_after"), [("undo|1", None), ("again|1", None), ("do|2", None), ("do|1", 1)])
async def test_a_step_is_done_at_once_when_it_is_asked_for_the_first_time(
    tmp_path: Path, asking: str, not_after: int | None
) -> None:
    """What was done of it before may be done by the unit that asks again, or undoes it, and is not to be seen yet."""

    async def never(*_: object, **__: object) -> NoReturn:
        raise AssertionError("it was carried out")

    async with a_counter(tmp_path) as counter:
        routes, codec = Routes("shop", {}, {}), MessageCodec(MessageNames())
        consumer = CommandConsumer(never, counter.store, codec, routes, counter.world, never)
        late = datetime_of(not_after) if not_after is not None else None
        body = envelope("shop.Pay", replyto="shop", replykey=f"Saga|7|pay|{asking}", notafter=late)
        due = DueMessage(-1, "handlers", "", "a", body, 0, START_MICROS, START_MICROS)
        with pytest.raises(NotAtOnce):
            await consumer.consume(due, Envelope.decode(body), Context(UUID(int=7)))


async def test_who_loses_is_told_though_others_joined(tmp_path: Path) -> None:
    """The unit that brings messages loses by itself: nothing of it is kept, and nothing of theirs."""
    async with a_counter(tmp_path) as counter:
        await counter.do(noted("Sale/1"))
        with pytest.raises(VersionConflict):
            await counter.do(noted("Sale/1"), message("a", "1"))
        assert await counter.done("a") == []
        assert await counter.store.inbox.unhandled() == 0


async def test_one_that_loses_is_taken_in_instead(tmp_path: Path) -> None:
    """Another process wrote its stream: the unit that brings it is committed all the same."""
    async with a_counter(tmp_path) as counter:
        counter.clerk.sends["a"] = [noted("Sale/1")]
        await counter.do(noted("Sale/1"))
        await counter.do(noted("Sale/2"), message("a", "1"))
        assert len(await counter.store.log.stream("Sale/2")) == 1
        assert await counter.done("a") == []
        assert await counter.store.inbox.unhandled() == 1


async def test_nothing_of_a_caller_that_is_cancelled_is_left_behind(tmp_path: Path) -> None:
    """Cancelled while others are to join, its unit is not committed, and theirs are not."""
    async with a_counter(tmp_path) as counter:
        counter.clerk.gates["a"] = asyncio.Event()
        doing = asyncio.ensure_future(counter.do(noted("Sale/1"), message("a", "1")))
        await counter.clerk.until_tried()
        doing.cancel()
        await asyncio.wait([doing])
        counter.clerk.gates["a"].set()
        await counter.do(noted("Sale/2"))
        assert await counter.store.log.stream("Sale/1") == []
        assert await counter.done("a") == []


async def test_who_does_a_message_of_a_caller_that_is_cancelled_is_cancelled_too(tmp_path: Path) -> None:
    """It would go on for nothing, and hold its streams for as long as it takes."""
    async with a_counter(tmp_path) as counter:
        counter.clerk.gates["a"] = asyncio.Event()
        doing = asyncio.ensure_future(counter.do(message("a", "1")))
        await counter.clerk.until_tried()
        doing.cancel()
        await asyncio.wait([doing])
        async with asyncio.timeout(WITHIN_SECONDS):
            await counter.clerk.ended.wait()


async def test_many_busy_lines_are_not_found_out_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a commit that comes to nothing: after a few of them all messages go into the inbox."""
    async with a_counter(tmp_path) as counter:
        lines = [str(number) for number in range(JOINED)]
        waiting = [message(line, "0") for line in lines]
        await counter.store.commit(Unit(counter.clock.micros(), UUID(int=3), effects=waiting))
        tries = 0
        commit = counter.store.commit

        async def counted(unit: Unit) -> Committed:
            nonlocal tries
            tries += 1
            return await commit(unit)

        monkeypatch.setattr(counter.store, "commit", counted)
        await counter.do(*(message(line, "1") for line in lines))
        assert tries <= BUSY_LINES + 2
        assert await counter.store.inbox.unhandled() == 2 * JOINED


async def test_who_waits_for_a_message_goes_on_when_the_worker_ends(tmp_path: Path) -> None:
    """Without it: it is in the inbox, and nobody is at it any more."""
    async with a_counter(tmp_path) as counter:
        counter.clerk.gates["a"] = asyncio.Event()
        doing = asyncio.ensure_future(counter.do(noted("Sale/1"), message("a", "1"), message("b", "2")))
        await counter.clerk.until_tried()
        await counter.at_once.close()
        await doing
        assert counter.clerk.ended.is_set()
        assert await counter.store.inbox.unhandled() + len(await counter.done("b")) == 2


async def test_a_slow_kind_rests_however_many_lines_are_busy(tmp_path: Path) -> None:
    """What is remembered of lines is forgotten when it is much, and a slow kind is not tried again for that."""
    async with a_counter(tmp_path) as counter:
        counter.at_once.open({WORK: counter.clerk, "quick": counter.clerk})
        lines = [str(number) for number in range(REMEMBERED)]
        waiting = [message(line, "0", "quick") for line in lines]
        await counter.store.commit(Unit(counter.clock.micros(), UUID(int=3), effects=waiting))
        counter.clerk.gates["a"] = asyncio.Event()
        await counter.do(message("a", "slow"))
        for line in lines:
            await counter.do(message(line, "1", "quick"))
        await counter.do(message("b", "slow too"))
        assert "slow too" not in counter.clerk.tried


async def test_a_kind_of_which_some_take_long_rests_longer_each_time(tmp_path: Path) -> None:
    """Though others of it are done beside those: each time costs what those had done."""
    async with a_counter(tmp_path) as counter:
        counter.clerk.gates |= {"slow": asyncio.Event(), "slow too": asyncio.Event()}
        await counter.do(message("slow", "1"), message("a", "1"))
        counter.clock.advance(REST_SECONDS)
        await counter.do(message("slow too", "1"), message("b", "1"))
        counter.clock.advance(REST_SECONDS)
        await counter.do(message("c", "1"))
        assert [await counter.done(key) for key in "abc"] == [["1"], ["1"], []]
        counter.clock.advance(REST_SECONDS)
        await counter.do(message("d", "1"))
        assert await counter.done("d") == ["1"]


async def test_one_that_hardly_had_time_is_not_taken_for_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What took the time was the one that it follows from: the kind is tried the next time."""
    monkeypatch.setattr(joint, "JOINING_SECONDS", 1.0)
    async with a_counter(tmp_path) as counter:

        def takes_its_time() -> None:
            time.sleep(1.0)  # all of it, and nobody else comes to anything meanwhile

        counter.clerk.faults["a"] = takes_its_time
        counter.clerk.sends = {"a": [message("b", "2")]}
        counter.clerk.gates["b"] = asyncio.Event()
        await counter.do(message("a", "1"))
        assert await counter.done("a") == ["1"]
        assert await counter.store.inbox.unhandled() == 1
        await counter.do(message("c", "3"))
        assert await counter.done("c") == ["3"]


async def test_a_request_waits_for_no_message(tmp_path: Path) -> None:
    """What it sends to its own service is done behind it; what that sends is done at once again."""
    async with a_counter(tmp_path, worker=True) as counter:
        counter.clerk.sends["a"] = [message("b", "2")]
        with counter.foreground.answering():
            await counter.do(noted("Sale/1"), message("a", "1"))
            assert counter.clerk.tried == []
            await counter.until_done("b", "2")
        assert counter.clerk.tried == ["1", "2"]
        assert [each for each in counter.touched if each & Touched.INBOX] == counter.touched[:1]


@pytest.mark.parametrize("failing", [0, 3])
async def test_instances_that_send_to_the_same_lines_keep_each_sender_s_order(tmp_path: Path, failing: int) -> None:
    """Each message takes effect once, whether one instance does it at once or the other finds it in the inbox."""
    async with a_counter(tmp_path, worker=True) as counter, beside(counter) as other:
        for key in KEYS:
            counter.clerk.faults[key] = times(failing, lambda: RuntimeError("not now"))

        async def send(sender: int, at_once: AtOnce) -> None:
            for number in range(15):
                effects = [message(KEYS[number % 3], f"{sender} {number}")]
                await at_once.commit(Unit(counter.clock.micros(), UUID(int=3), effects=effects))

        async with asyncio.timeout(WITHIN_SECONDS):
            await asyncio.gather(*(send(sender, (counter.at_once, other)[sender % 2]) for sender in range(4)))
            while await counter.store.inbox.unhandled():
                counter.clock.advance(600.0)
                await counter.worker.look_again()
                await asyncio.sleep(0.001)
        for place, key in enumerate(KEYS):
            done = await counter.done(key)
            for sender in range(4):
                said = [each for each in done if each.startswith(f"{sender} ")]
                assert said == [f"{sender} {number}" for number in range(place, 15, 3)]


async def test_where_nobody_works_nothing_is_done(tmp_path: Path) -> None:
    """Messages wait in the inbox before the worker begins, and after it has ended."""
    async with a_counter(tmp_path) as counter:
        await counter.at_once.close()
        await counter.do(message("a", "1"))
        assert await counter.store.inbox.unhandled() == 1
        assert counter.clerk.tried == []
