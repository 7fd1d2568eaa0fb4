"""Commands on aggregates: one at a time on each, each whole, refusals answered, callers that go away harmless."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from colonnade.domain import Aggregate, Conflict
from colonnade.messages import Event
from colonnade.messages.codec import MessageCodec
from colonnade.messages.names import MessageNames
from colonnade.observability.correlation import Context
from colonnade.persistence.addresses import Routes
from colonnade.persistence.execution import RUNS_AFTER_CONFLICT, Done, Execution, Outcome, Refused
from colonnade.persistence.kinds import AggregateKind
from colonnade.persistence.repository import AggregateCache, EventSourcedRepository
from colonnade.persistence.sqlite import SqliteStore, open_sqlite_store
from colonnade.persistence.store import AlreadyAnswered, VersionConflict
from colonnade.persistence.unit import Answer, Append, Deliver, NewEvent, Unit
from colonnade.world import real_world

WORLD = real_world()
CONTEXT = Context(UUID(int=1))
FOR_EVER = 1 << 60
AT_ONCE = 64


class Reserved(Event):
    """Some goods were set aside."""

    quantity: int


class SoldOut(Conflict):
    """There are not so many."""

    left: int


class Stock(Aggregate[Reserved, str]):
    """Goods of which there are a hundred."""

    left: int

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.left = 100

    def reserve(self, quantity: int) -> None:
        """Set goods aside."""
        self.record(Reserved(quantity))
        if self.left < 0:
            raise SoldOut(self.left + quantity)

    def apply(self, event: Reserved) -> None:
        """Count."""
        self.left -= event.quantity


class Shop:
    """One store with an execution and a repository of stocks."""

    def __init__(self, store: SqliteStore) -> None:
        names = MessageNames()
        names.bind("shop", [Reserved], {})
        codec = MessageCodec(names)
        kind = AggregateKind(Stock, lambda id: Stock(str(id)), "Stock")
        cache = AggregateCache(100)
        self.store = store
        self.execution = Execution(store, codec, Routes("shop", {}, {}), [cast(Any, kind)], cache, WORLD)
        self.stocks = EventSourcedRepository(kind, store.log, codec, cache)
        self.runs = 0

    async def stock(self, id: str) -> Stock:
        """The stock, new where there is none."""
        found = await self.stocks.find(id)
        if found is None:
            found = Stock(id)
            self.stocks.add(found)
        return found

    async def run(self, handle: Callable[[], Awaitable[Any]], **options: Any) -> Outcome[Any]:
        """Run a handler, and count its runs."""

        async def counted() -> Any:
            self.runs += 1
            return await handle()

        return await self.execution.run(counted, context=CONTEXT, **options)

    async def reserve(self, *ids: str, quantity: int = 1, **options: Any) -> Outcome[Any]:
        """Set goods of each stock aside, in the order of `ids`."""

        async def handle() -> None:
            for id in ids:
                stock = await self.stock(id)
                await asyncio.sleep(0)
                stock.reserve(quantity)

        return await self.run(handle, **options)

    async def versions(self, id: str) -> list[int]:
        """The versions in the stream of a stock."""
        return [event.version for event in await self.store.log.stream(f"Stock/{id}", limit=1_000)]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop with nothing sold."""
    store = await open_sqlite_store(tmp_path / "shop.sqlite3", WORLD)
    yield Shop(store)
    await store.close()


async def elsewhere(shop: Shop, id: str) -> None:
    """Another process sells one of the goods."""
    versions = await shop.versions(id)
    event = NewEvent(WORLD.ids.new(), "shop.Reserved", 1, b'{"quantity":1}')
    append = Append(f"Stock/{id}", len(versions), [event])
    await shop.store.commit(Unit(WORLD.clock.micros(), UUID(int=2), effects=[append]))


async def test_many_at_once_on_one_aggregate_all_win_and_run_once(shop: Shop) -> None:
    """64 reservations of one product at the same time: 64 are applied, without holes, in 1.2 runs each at most."""
    outcomes = await asyncio.gather(*(shop.reserve("milk") for _ in range(AT_ONCE)))
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert await shop.versions("milk") == list(range(1, AT_ONCE + 1))
    assert shop.runs <= 1.2 * AT_ONCE
    assert (await shop.run(lambda: shop.stock("milk"))).value.left == 100 - AT_ONCE  # type: ignore[union-attr]


async def test_commands_that_need_two_aggregates_in_opposite_order_all_end(shop: Shop) -> None:
    """Milk then bread beside bread then milk: nobody waits for ever, and every one is applied to both."""
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(
            *(shop.reserve(*(("milk", "bread") if number % 2 else ("bread", "milk"))) for number in range(40))
        )
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert await shop.versions("milk") == await shop.versions("bread") == list(range(1, 41))


async def test_a_refusal_is_an_answer_and_keeps_nothing_else(shop: Shop) -> None:
    """What a refused handler recorded is dropped, on all aggregates; the mark and the answer are committed."""

    async def handle() -> None:
        (await shop.stock("bread")).reserve(1)
        (await shop.stock("milk")).reserve(101)

    told = Deliver("subscriber:Till", "milk", b"{}")
    outcome = await shop.run(handle, base=[told], close=lambda _: [Answer("scope", b"f", b"refused", FOR_EVER)])
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.refusal, SoldOut)
    assert await shop.versions("milk") == await shop.versions("bread") == []
    assert (await shop.store.answers("scope"))["scope"].response == b"refused"
    assert [due.key for due in await shop.store.inbox.due(FOR_EVER, 10)] == ["milk"]
    assert isinstance(await shop.reserve("milk", quantity=100), Done)


async def test_an_error_commits_nothing(shop: Shop) -> None:
    """Any other exception is raised, and neither mark nor event is kept."""

    async def handle() -> None:
        (await shop.stock("milk")).reserve(1)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await shop.run(handle, base=[Deliver("subscriber:Till", "milk", b"{}")])
    assert await shop.versions("milk") == []
    assert await shop.store.inbox.unhandled() == 0


async def test_who_loses_against_another_process_starts_from_what_it_wrote(shop: Shop) -> None:
    """A conflict is mended by another run on fresh state: both writes are there, and the caller knows of none."""
    await shop.reserve("milk")
    overtaken = False

    async def handle() -> int:
        nonlocal overtaken
        stock = await shop.stock("milk")
        left = stock.left
        if not overtaken:
            overtaken = True
            await elsewhere(shop, "milk")
        stock.reserve(1)
        return left

    outcome = await shop.run(handle)
    assert isinstance(outcome, Done)
    assert outcome.value == 98
    assert await shop.versions("milk") == [1, 2, 3]


async def test_who_always_loses_is_told_after_some_runs(shop: Shop) -> None:
    """Another process that is always faster makes the command fail, with the stream and both versions."""
    await shop.reserve("milk")
    before = shop.runs

    async def handle() -> None:
        stock = await shop.stock("milk")
        await elsewhere(shop, "milk")
        stock.reserve(1)

    with pytest.raises(VersionConflict) as raised:
        await shop.run(handle)
    assert shop.runs - before == RUNS_AFTER_CONFLICT
    error = raised.value
    assert (error.stream, error.actual - error.expected) == ("Stock/milk", 1)


async def test_an_idempotent_request_has_one_answer(shop: Shop) -> None:
    """Of duplicates at the same time one is applied, and the others are told its answer."""

    def close(_: Outcome[Any]) -> list[Answer]:
        return [Answer("scope", b"f", b"the answer", FOR_EVER)]

    outcomes = await asyncio.gather(*(shop.reserve("milk", close=close) for _ in range(8)), return_exceptions=True)
    lost = [outcome for outcome in outcomes if isinstance(outcome, AlreadyAnswered)]
    assert len(lost) == 7
    assert {each.answer.response for each in lost} == {b"the answer"}
    assert await shop.versions("milk") == [1]


async def test_a_caller_who_goes_away_blocks_nobody(shop: Shop) -> None:
    """Cancelled before, while and after it waits for its turn or its commit, a command leaves its stream free."""
    for turns in range(12):
        running = [asyncio.ensure_future(shop.reserve("milk")) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        running[1].cancel()
        done = await asyncio.gather(*running, return_exceptions=True)
        assert isinstance(done[0], Done)
        assert isinstance(done[2], Done)
    versions = await shop.versions("milk")
    assert versions == list(range(1, len(versions) + 1))
    assert 24 <= len(versions) <= 36
    assert (await shop.run(lambda: shop.stock("milk"))).value.left == 100 - len(versions)  # type: ignore[union-attr]
