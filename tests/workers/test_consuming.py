"""What becomes of a message: an effect exactly once, an answer, a wait for newer code; never two things at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import pytest

from colonnade.messages import Command
from colonnade.messages.envelope import Envelope
from colonnade.persistence.addresses import HANDLERS
from colonnade.persistence.reply import Reply
from colonnade.persistence.unit import Deliver
from colonnade.system import Service, System
from tests.workers.factory import Factory, a_factory
from tests.workers.factory.front import Order
from tests.workers.hands import commit, envelope


async def ask(at: Factory, order_id: int, item: int, fields: Mapping[str, object] = MappingProxyType({})) -> None:
    """Put the command `Bill` into the hall's inbox, as it would come from another service."""
    await put(at, order_id, b'{"order_id":%d,"item":%d}' % (order_id, item), fields=fields)


async def put(
    at: Factory, key: int, data: bytes, version: int = 1, fields: Mapping[str, object] = MappingProxyType({})
) -> None:
    """Put a command with this data into the hall's inbox."""
    raw = envelope("hall.Bill", data, f"{key}", version, **fields)
    await commit(at.hall.store, at.running.runtime.world, Deliver(HANDLERS, f"{key}", raw))


async def answers(at: Factory, count: int) -> list[Reply]:
    """Wait for so many answers of the hall to the front office; what they say."""
    found: list[Reply] = []

    async def are_there() -> bool:
        rows = await at.hall.store.outbox.pending(0, 100)
        replies = [Envelope.decode(row.envelope) for row in rows if row.topic == "front.replies"]
        found[:] = [Reply.decode(reply.data) for reply in replies]
        return len(found) == count

    await at.commits.until(are_there)
    return found


def of_step(step: str = "bill", direction: str = "do") -> dict[str, object]:
    """What the command of a saga's step carries."""
    return {"replyto": "front", "replykey": f"saga:Sell|1|{step}|{direction}|1"}


async def is_idle(at: Factory) -> bool:
    """Whether the hall has nothing in its inbox."""
    return await at.hall.store.inbox.unhandled() == 0


async def test_a_refusal_is_an_answer_and_never_tried_again(tmp_path: Path) -> None:
    """What was recorded is dropped, the message is done, and the line goes on; the one who asked is told once."""
    async with a_factory(tmp_path) as at:
        await ask(at, 1, 101)
        await ask(at, 1, 102, of_step())
        await ask(at, 1, 3)
        await at.until_items("Invoice/1", 3)
        assert await answers(at, 1) == [Reply("hall.TooDear", "No customer pays for more than a hundred. (item=102)")]
        assert await is_idle(at)
        assert not at.hall.health.states()


async def test_a_subscribers_command_that_is_refused_is_done_too(tmp_path: Path) -> None:
    """The event was reacted to once."""
    async with a_factory(tmp_path) as at:
        await at.running.execute(Order(1, 1_001))
        await at.running.execute(Order(1, 2))
        await at.until_items("Job/1", 2)
        assert [call.attempt for call in at.tools.used] == [1, 1]


@pytest.mark.parametrize("of_saga", [True, False])
async def test_a_command_is_not_carried_out_after_the_moment_that_it_says(tmp_path: Path, of_saga: bool) -> None:
    """One that comes too late is a refusal; one that comes at its last moment is carried out."""
    async with a_factory(tmp_path) as at:
        step = of_step() if of_saga else {}
        await ask(at, 1, 1, {"notafter": at.clock.now() - timedelta(microseconds=1), **step})
        await ask(at, 1, 2)
        await at.until_items("Invoice/1", 2)
        await ask(at, 2, 1, {"notafter": at.clock.now(), **step})
        await at.until_items("Invoice/2", 1)
        if of_saga:
            assert [reply.refused for reply in await answers(at, 2)] == ["hall.Expired", None]
        await at.commits.until(lambda: is_idle(at))


@pytest.mark.parametrize("of_saga", [True, False])
async def test_a_command_whose_time_runs_out_while_it_is_carried_out_changes_nothing(
    tmp_path: Path, of_saga: bool
) -> None:
    """It is dropped before its commit."""
    async with a_factory(tmp_path) as at:
        at.tools.billed = lambda: at.clock.advance(1.0)
        step = of_step() if of_saga else {}
        await ask(at, 1, 1, {"notafter": at.clock.now() + timedelta(seconds=0.5), **step})
        await at.commits.until(lambda: is_idle(at))
        assert await at.items("Invoice/1") == []
        if of_saga:
            assert [reply.refused for reply in await answers(at, 1)] == ["hall.Expired"]


async def test_a_failing_command_is_refused_as_soon_as_its_time_has_run_out(tmp_path: Path) -> None:
    """It does not sit out a back-off that is longer than it lives: its line waits for it."""
    async with a_factory(tmp_path) as at:
        at.tools.broken.add(1)
        await ask(at, 1, 1, {"notafter": at.clock.now() + timedelta(seconds=20), **of_step()})
        until = at.clock.micros() + 21_000_000
        inbox = at.hall.store.inbox

        async def answered() -> bool:
            moment = await inbox.next_due_after(at.clock.micros())
            if moment is not None:
                assert moment <= until
                await at.advance((moment - at.clock.micros()) / 1_000_000)
            return await is_idle(at)

        await at.commits.until(answered)
        assert [reply.refused for reply in await answers(at, 1)] == ["hall.Expired"]


async def test_a_step_that_is_asked_for_again_is_answered_as_before_and_done_once(tmp_path: Path) -> None:
    """The saga may not have heard the first answer."""
    async with a_factory(tmp_path) as at:
        for _ in range(3):
            await ask(at, 1, 1, of_step())
        assert await answers(at, 3) == [Reply(), Reply(), Reply()]
        assert await at.items("Invoice/1") == [1]


async def test_a_message_of_a_newer_version_stays_in_line_until_newer_code_comes(tmp_path: Path) -> None:
    """It counts no attempt, holds its line alone, is named in health, and is handled by the code that knows it."""
    async with a_factory(tmp_path) as at:
        await put(at, 1, b'{"order_id":1,"item":7,"currency":"EUR"}', version=2)
        await ask(at, 1, 8)
        await ask(at, 2, 9)
        await at.until_items("Invoice/2", 9)
        for _ in range(50):
            await at.advance(60.0)
        # A clock that jumps by a minute also finds late what just begins
        told = {state.name: state.detail for state in at.hall.health.states()}
        assert "hall.Bill has version 2, this code knows 1" in told["hall.waiting"]
        assert await at.items("Invoice/1") == []
        assert await at.hall.store.inbox.parked_count() == 0
        clock = at.clock
    async with a_factory(tmp_path, newer(), clock) as at:
        clock.advance(60.0)

        async def knows_both() -> bool:
            return billed == [(7, "EUR"), (8, "GBP")]

        await at.hall.worker.look_again()
        await at.commits.until(knows_both)


billed: list[tuple[int, str]] = []


class NewerBill(Command, version=2):
    """Put an item on the bill of an order, in a currency."""

    order_id: int
    item: int
    currency: str = "GBP"


@dataclass(frozen=True)
class NewerBillHandler:
    """Bills."""

    async def __call__(self, command: NewerBill) -> None:
        """Bill."""
        billed.append((command.item, command.currency))


def newer() -> System:
    """A system whose hall knows the newer command."""
    hall = Service("hall", handlers=[NewerBillHandler], names={NewerBill: "Bill"})
    return System("factory", [hall, Service("front")])


async def test_what_cannot_be_read_is_parked_at_once(tmp_path: Path) -> None:
    """It will not read better the next time; whoever looks at it finds what is wrong with it."""
    async with a_factory(tmp_path) as at:
        await put(at, 1, b'{"order_id":1,"item":"seven"}')
        await commit(at.hall.store, at.running.runtime.world, Deliver(HANDLERS, "2", b"no message"))
        await ask(at, 3, 3)
        one, two = await at.parked(2)
        assert (one.attempts, two.attempts) == (1, 1)
        assert one.cause.startswith("MalformedMessage: The data is not a hall.Bill")
        assert two.cause.startswith("MalformedEnvelope: The bytes are not a CloudEvents 1.0 message")
        await at.until_items("Invoice/3", 3)


async def test_what_follows_from_a_message_knows_where_it_comes_from(tmp_path: Path) -> None:
    """The correlation id goes on, the message is the cause, and the principal stays the one who began it."""
    async with a_factory(tmp_path) as at:
        began = {"id": UUID(int=11), "correlationid": UUID(int=12), "principal": "ada"}
        await ask(at, 1, 1, began)
        await at.until_items("Invoice/1", 1)
        (event,) = await at.hall.store.log.stream("Invoice/1")
        assert (event.causation_id, event.correlation_id, event.principal) == (UUID(int=11), UUID(int=12), "ada")
