"""Messages of one line that are done at once: each goes on from what the one before it decided, in one commit."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
import pytest

from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.persistence.execution import Outcome, Refused
from colonnade.persistence.failures import LineBusy, NotAtOnce
from colonnade.persistence.store import Committed, DueMessage, Touched
from colonnade.persistence.unit import Append, ArmTimer, Deliver, DisarmTimer, Effect, Handled, HandledAtOnce, Unit
from colonnade.persistence.work import StreamBusy, work_at_hand
from colonnade.workers.at_once import AtOnce, joint
from tests.execution.shops import FOR_EVER, WORLD, Shop, Stock
from tests.workers.hands import WITHIN_SECONDS, envelope

PORTER = "porter"


class Order(msgspec.Struct):
    """How many are to be set aside, and what is to be done after it, of the same goods or of those named `of`."""

    quantity: int
    then: "list[Order]" = []
    of: str = ""


@dataclass
class Porter:
    """Sets goods aside, and sends itself what is to be done after that."""

    shop: Shop
    holds: bool = True
    joins: bool = True
    seen: list[int] = field(default_factory=list)
    """How many were left when an order came."""
    tries: int = 1
    """How often it carries out what fails, before it says so."""
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    fault: Callable[[Order], None] = lambda order: None
    more: Callable[[Order], list[Effect]] = lambda order: []
    close: Callable[[Outcome[None]], list[Effect]] = lambda outcome: []

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Carry an order out."""
        order = msgspec.json.decode(envelope.data, type=Order)

        async def handle() -> None:
            stock = await self.shop.stock(due.key)
            self.seen.append(stock.left)
            if (gate := self.gates.get(due.key)) is not None:
                await gate.wait()
            stock.reserve(order.quantity)
            self.fault(order)
            sent = [ordered(each.of or due.key, each) for each in order.then]
            work_at_hand().effects.extend([*sent, *self.more(order)])

        for tries_left in reversed(range(self.tries)):
            try:
                await self.shop.execution.run(handle, context=context, base=[Handled(due.row)], close=self.close)
                return
            except RuntimeError:
                if not tries_left:
                    raise


def ordered(id: str, order: Order) -> Deliver:
    """The message that brings an order."""
    return Deliver(PORTER, id, envelope("shop.Order", msgspec.json.encode(order), id))


def chain(*quantities: int) -> Order:
    """Orders one after the other, each sent by the one before it."""
    first, *others = quantities
    return Order(first, [chain(*others)] if others else [])


@dataclass
class Yard:
    """A shop whose porter works at once."""

    shop: Shop
    porter: Porter
    at_once: AtOnce
    touched: list[Touched] = field(default_factory=list)

    async def order(self, order: Order, *effects: Effect) -> None:
        """Commit a unit that brings an order."""
        unit = Unit(WORLD.clock.micros(), UUID(int=3), effects=[ordered("milk", order), *effects])
        await self.at_once.commit(unit)

    async def waiting(self) -> list[Order]:
        """The orders that lie in the inbox."""
        due = await self.shop.store.inbox.due(FOR_EVER, 10)
        return [msgspec.json.decode(Envelope.decode(each.envelope).data, type=Order) for each in due]

    async def do_waiting(self) -> None:
        """Carry out what lies in the inbox, as a worker does."""
        while due := await self.shop.store.inbox.due(FOR_EVER, 1):
            (message,) = due
            await self.porter.consume(message, Envelope.decode(message.envelope), Context(UUID(int=4)))

    async def is_held(self, id: str) -> bool:
        """Whether somebody holds the stream of a stock: a message that is done at once does not get to it."""
        try:
            await self.shop.run(lambda: self.shop.stock(id), base=[Handled(-1_000_000)])
        except StreamBusy:
            return True
        except NotAtOnce:
            return False
        raise AssertionError("nobody does such a message")

    @property
    def was_in_the_inbox(self) -> bool:
        """Whether any message has been put there."""
        return any(each & Touched.INBOX for each in self.touched)


@pytest.fixture
async def yard(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Yard]:
    """A yard that is open, where nobody is late, however busy the machine is."""
    monkeypatch.setattr(joint, "JOINING_SECONDS", WITHIN_SECONDS)
    at_once = AtOnce(shop.store, WORLD)
    shop = Shop(shop.store, at_once=at_once)
    porter = Porter(shop)
    at_once.open({PORTER: porter})
    made = Yard(shop, porter, at_once)
    shop.store.watch(made.touched.append)
    yield made
    await at_once.close()


async def test_the_next_of_a_line_goes_on_from_what_the_one_before_decided(yard: Yard) -> None:
    """A chain of messages on one stream is one commit; each event says why it happened; memory is right after it."""
    await yard.shop.reserve("milk")
    await yard.order(chain(10, 20, 30))
    assert yard.porter.seen == [99, 89, 69]
    assert not yard.was_in_the_inbox
    events = await yard.shop.store.log.stream("Stock/milk")
    assert [msgspec.json.decode(event.data)["quantity"] for event in events] == [1, 10, 20, 30]
    assert [event.version for event in events] == [1, 2, 3, 4]
    assert len({event.causation_id for event in events[1:]}) == 3
    await yard.shop.reserve("milk")
    assert await yard.shop.left("milk") == 38


async def test_chains_beside_each_other_are_all_done_at_once(yard: Yard) -> None:
    """None of them is in another's way."""
    await asyncio.gather(*(yard.at_once.commit(_brings(f"good {number}", chain(1, 2, 3))) for number in range(20)))
    for number in range(20):
        assert await yard.shop.left(f"good {number}") == 94
    assert not yard.was_in_the_inbox


async def test_what_fails_in_a_line_leaves_the_one_before_it_as_it_was(yard: Yard) -> None:
    """What it had recorded is forgotten, in memory as well; it is done when it is tried again, from what is stored."""
    await yard.shop.reserve("milk")

    def fault(order: Order) -> None:
        if order.quantity == 20:
            raise RuntimeError("dropped it")

    yard.porter.fault = fault
    await yard.order(chain(10, 20, 30))
    assert await yard.shop.left("milk") == 89
    assert await yard.waiting() == [chain(20, 30)]
    yard.porter.fault = lambda order: None
    await yard.do_waiting()
    assert await yard.shop.left("milk") == 39
    assert await yard.shop.versions("milk") == [1, 2, 3, 4]


async def test_the_stream_is_held_until_all_of_its_line_is_committed(yard: Yard) -> None:
    """A command that comes meanwhile waits, and none of them meets a conflict."""
    await yard.shop.reserve("milk")
    outcomes = await asyncio.gather(
        *(yard.order(chain(1, 1, 1)) for _ in range(5)), *(yard.shop.reserve("milk") for _ in range(5))
    )
    await yard.do_waiting()
    assert len(outcomes) == 10
    assert yard.shop.runs == 6
    assert await yard.shop.left("milk") == 100 - 1 - 15 - 5
    assert await yard.shop.versions("milk") == list(range(1, 22))


async def test_a_refused_one_hands_nothing_on(yard: Yard) -> None:
    """What it recorded is dropped; the next in its line does not see it."""
    await yard.shop.reserve("milk", quantity=90)
    yard.porter.close = lambda outcome: [ordered("milk", chain(2))] if isinstance(outcome, Refused) else []
    await yard.order(chain(50))
    assert await yard.waiting() == [chain(2)]
    await yard.do_waiting()
    assert yard.porter.seen[-1] == 10
    assert await yard.shop.left("milk") == 8


async def test_of_a_timer_the_last_word_counts(yard: Yard) -> None:
    """One that the first arms and the next disarms is not armed, and what one armed anew is armed for that."""
    bell = ordered("bell", chain(1))

    def more(order: Order) -> list[Effect]:
        if order.quantity == 10:
            return [ArmTimer("gone", 5, bell), ArmTimer("moved", 6, bell), DisarmTimer("old")]
        return [DisarmTimer("gone"), ArmTimer("moved", 7, bell), ArmTimer("new", 8, bell)]

    await yard.at_once.commit(Unit(1, UUID(int=3), effects=[ArmTimer("old", 4, bell)]))
    yard.porter.more = more
    await yard.order(chain(10, 20))
    assert not yard.was_in_the_inbox
    timers = await yard.shop.store.timers.due(FOR_EVER, 10)
    assert [(timer.name, timer.due) for timer in timers] == [("moved", 7), ("new", 8)]


async def test_a_line_that_is_found_busy_takes_back_all_that_was_done_in_it(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit that brings the first is committed without any of them, and they are done in their order."""
    await yard.shop.reserve("milk")
    commit = yard.shop.store.commit

    async def busy(unit: Unit) -> Committed:
        for each in (unit, *unit.followers):
            if any(isinstance(effect, HandledAtOnce) for effect in each.effects):
                raise LineBusy(PORTER, "milk")
        return await commit(unit)

    monkeypatch.setattr(yard.shop.store, "commit", busy)
    await yard.order(chain(10, 20, 30))
    assert await yard.waiting() == [chain(10, 20, 30)]
    assert await yard.shop.left("milk") == 99
    await yard.do_waiting()
    assert await yard.shop.left("milk") == 39


async def test_nothing_overtakes_what_goes_into_the_inbox(yard: Yard) -> None:
    """Of two that come to a line together the second waits there, and what the first sends to it waits behind that."""
    unit = Unit(WORLD.clock.micros(), UUID(int=3), effects=[ordered("milk", chain(1, 2)), ordered("milk", chain(3))])
    await yard.at_once.commit(unit)
    assert await yard.shop.left("milk") == 99
    await yard.do_waiting()
    assert [100 - left for left in yard.porter.seen] == [0, 1, 4]


async def test_a_stream_goes_back_past_those_that_are_turned_away_with_the_next(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the one whose unit is committed still: who comes meanwhile waits for it, and meets no conflict."""
    await yard.shop.reserve("milk")
    commit = yard.shop.store.commit
    held: list[bool] = []

    async def busy(unit: Unit) -> Committed:
        if HandledAtOnce(PORTER, "van") in unit.effects:
            raise LineBusy(PORTER, "van")
        if _writes(unit, "milk"):
            await _meanwhile(commit)
            held.append(await yard.is_held("milk"))
        return await commit(unit)

    monkeypatch.setattr(yard.shop.store, "commit", busy)
    # What the van sends to the line of milk is behind the first, and is turned away with the van
    van = Order(1, [Order(20, [Order(30)], of="milk")])
    unit = Unit(WORLD.clock.micros(), UUID(int=3), effects=[ordered("milk", chain(10)), ordered("van", van)])
    await yard.at_once.commit(unit)
    assert yard.porter.seen == [99, 100, 89, 69]
    assert held == [True]
    assert await yard.waiting() == [van]
    assert await yard.shop.left("milk") == 89
    await yard.do_waiting()
    assert await yard.shop.left("milk") == 39


async def test_nothing_is_committed_of_whom_the_end_of_the_worker_has_cancelled(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has let go of its streams: what it would have done is in the inbox."""
    await yard.shop.reserve("milk")
    yard.porter.gates["van"] = asyncio.Event()
    commit = yard.shop.store.commit
    held: list[bool] = []

    async def looking(unit: Unit) -> Committed:
        if _writes(unit, "milk"):
            await _meanwhile(commit)
            held.append(await yard.is_held("milk"))
        return await commit(unit)

    monkeypatch.setattr(yard.shop.store, "commit", looking)
    both_joined = asyncio.Event()
    yard.porter.fault = lambda order: both_joined.set() if order.quantity == 20 else None
    effects = [ordered("milk", chain(10, 20)), ordered("van", chain(1))]
    doing = asyncio.ensure_future(yard.at_once.commit(Unit(WORLD.clock.micros(), UUID(int=3), effects=[*effects])))
    await both_joined.wait()
    await yard.at_once.close()
    await doing
    assert all(held)
    yard.porter.gates.clear()
    await yard.do_waiting()
    assert await yard.shop.left("milk") == 69
    assert not await yard.is_held("milk")


async def test_one_that_puts_another_in_the_place_of_what_it_found_loses(yard: Yard) -> None:
    """Nothing of what it recorded is taken for recorded by the one before it, and lost in silence."""

    def fault(order: Order) -> None:
        if order.quantity == 20:
            other = Stock("milk")
            other.reserve(5)
            yard.shop.stocks.add(other)

    yard.porter.fault = fault
    await yard.order(chain(10, 20))
    assert await yard.waiting() == [chain(10, 20)]
    yard.porter.fault = lambda order: None
    await yard.do_waiting()
    assert await yard.shop.left("milk") == 70


async def test_what_one_has_failed_with_is_not_handed_to_its_next_try(yard: Yard) -> None:
    """The stream is back with the one before it, and what lies in memory is not what that one decided."""
    await yard.shop.reserve("milk")

    def fault(order: Order) -> None:
        if order.quantity == 20:
            raise RuntimeError("dropped it")

    yard.porter.fault, yard.porter.tries = fault, 2
    await yard.order(chain(10, 20))
    assert yard.porter.seen == [99, 89]
    assert await yard.waiting() == [chain(20)]
    assert await yard.shop.left("milk") == 89


async def _meanwhile(commit: Callable[[Unit], Awaitable[Committed]]) -> None:
    """Let all go on who have been told of something, or wait until what was handed in before is decided."""
    for _ in range(2):
        await commit(Unit(WORLD.clock.micros(), UUID(int=3)))


def _writes(unit: Unit, id: str) -> bool:
    """Whether it adds to the stream of a stock, by itself or by what is done with it."""
    effects = [effect for each in (unit, *unit.followers) for effect in each.effects]
    return any(isinstance(effect, Append) and effect.stream == f"Stock/{id}" for effect in effects)


def _brings(id: str, order: Order) -> Unit:
    return Unit(WORLD.clock.micros(), UUID(int=3), effects=[ordered(id, order)])
