"""Commands on aggregates: one at a time on each, each whole, refusals answered, callers that go away harmless."""

import asyncio

import pytest

from colonnade.persistence.execution import RUNS_AFTER_CONFLICT, Done, Refused
from colonnade.persistence.failures import AlreadyAnswered, VersionConflict
from colonnade.persistence.unit import Deliver
from colonnade.world import World
from tests.execution.shops import FOR_EVER, WORLD, Shop, SoldOut, Stock, answer, elsewhere

AT_ONCE = 64


async def test_many_at_once_on_one_aggregate_all_win_and_run_once(shop: Shop) -> None:
    """64 reservations of one product at the same time: 64 are applied, without holes, in 1.2 runs each at most."""
    outcomes = await asyncio.gather(*(shop.reserve("milk") for _ in range(AT_ONCE)))
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert await shop.versions("milk") == list(range(1, AT_ONCE + 1))
    assert shop.runs <= 1.2 * AT_ONCE
    assert await shop.left("milk") == 100 - AT_ONCE


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
    outcome = await shop.run(handle, base=[told], close=answer(b"refused"))
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


async def test_who_only_looks_sees_what_another_process_wrote(shop: Shop) -> None:
    """Though it has the aggregate in memory: a command that changes nothing is decided on what is stored."""
    instance = Shop(shop.store, shared=True)
    await instance.reserve("milk")
    await elsewhere(shop, "milk")
    assert await instance.left("milk") == 98


async def test_who_refuses_does_so_on_what_is_stored(shop: Shop) -> None:
    """A refusal that another process's write has made wrong is not given: the handler runs again."""
    instance = Shop(shop.store, shared=True)
    await instance.reserve("milk")
    await elsewhere(shop, "milk")

    async def handle() -> None:
        stock = await instance.stock("milk")
        stock.reserve(1)
        if stock.left > 97:
            raise SoldOut(stock.left)

    assert isinstance(await instance.run(handle), Done)
    assert await shop.versions("milk") == [1, 2, 3]
    assert isinstance(await instance.run(lambda: instance.stock("milk")), Done)


async def test_who_always_loses_waits_longer_each_time_and_then_is_told(shop: Shop) -> None:
    """Another process that is always faster makes the command fail, with the stream and both versions."""
    waits = list[float]()

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    loser = Shop(shop.store, World(WORLD.clock, WORLD.randomness, WORLD.ids, wait))
    await loser.reserve("milk")
    before = loser.runs

    async def handle() -> None:
        stock = await loser.stock("milk")
        await elsewhere(loser, "milk")
        stock.reserve(1)

    with pytest.raises(VersionConflict) as raised:
        await loser.run(handle)
    assert loser.runs - before == RUNS_AFTER_CONFLICT
    assert len(waits) == RUNS_AFTER_CONFLICT - 1
    assert waits == sorted(waits)
    error = raised.value
    assert (error.stream, error.actual - error.expected) == ("Stock/milk", 1)


async def test_an_idempotent_request_has_one_answer(shop: Shop) -> None:
    """Of duplicates at the same time one is applied, and the others are told its answer."""
    outcomes = await asyncio.gather(*(shop.reserve("milk", close=answer()) for _ in range(8)), return_exceptions=True)
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
    assert await shop.left("milk") == 100 - len(versions)


async def test_many_at_once_in_three_instances_all_win_in_two_runs_each(shop: Shop) -> None:
    """64 reservations of one product, spread over three instances that know nothing of each other: all are applied."""
    instances = [shop, Shop(shop.store), Shop(shop.store)]
    outcomes = await asyncio.gather(*(instances[number % 3].reserve("milk") for number in range(AT_ONCE)))
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert await shop.versions("milk") == list(range(1, AT_ONCE + 1))
    assert sum(instance.runs for instance in instances) <= 2 * AT_ONCE


async def test_who_looked_for_a_stream_that_another_process_then_began_runs_again(shop: Shop) -> None:
    """To have found nothing is a state like any other: a command that acted on it starts from what is there now."""
    overtaken = False

    async def handle() -> None:
        nonlocal overtaken
        stock = await shop.stock("milk")
        if not overtaken:
            overtaken = True
            await elsewhere(shop, "milk")
        stock.reserve(1)

    assert isinstance(await shop.run(handle), Done)
    assert await shop.versions("milk") == [1, 2]


async def test_who_begins_a_stream_that_is_there_is_told_at_once(shop: Shop) -> None:
    """A new aggregate that nobody looked for and that is there conflicts in every run, so that one is enough."""
    await shop.reserve("milk")
    before = shop.runs

    async def handle() -> None:
        stock = Stock("milk")
        shop.stocks.add(stock)
        stock.reserve(1)

    with pytest.raises(VersionConflict) as raised:
        await shop.run(handle)
    assert (raised.value.stream, raised.value.expected, raised.value.actual) == ("Stock/milk", 0, 1)
    assert shop.runs - before == 1


async def test_a_duplicate_that_begins_the_same_stream_is_told_the_answer(shop: Shop) -> None:
    """That the request has been answered says more than that its stream is there: the loser gets the answer."""

    async def handle() -> None:
        stock = Stock("milk")
        shop.stocks.add(stock)
        stock.reserve(1)

    outcomes = await asyncio.gather(*(shop.run(handle, close=answer()) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(outcome, AlreadyAnswered) for outcome in outcomes) == 3
    assert await shop.versions("milk") == [1]


async def test_what_a_cancelled_caller_commits_is_seen_by_the_next(shop: Shop) -> None:
    """Cancelled while its commit is under way, a command keeps its stream until that is decided."""
    for turns in range(12):
        await shop.reserve("milk")
        seen = await shop.left("milk")
        running = asyncio.ensure_future(shop.reserve("milk"))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await shop.left("milk")
        await asyncio.gather(running, return_exceptions=True)
        assert await shop.left("milk") == 100 - len(await shop.versions("milk")) <= seen
