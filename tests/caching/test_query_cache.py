"""Answers that are kept: who reads, who waits, who gets what."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from colonnade.caching import MemoryCache
from colonnade.caching.query_cache import KeptAnswer, QueryCache, ReadAnswer
from colonnade.world import real_world
from tests.caching.clocks import SetClock

_WORLD = real_world()


class Source:
    """What is read: a text, made from one table, complete up to a position. Reading may be held back."""

    def __init__(self) -> None:
        self.body, self.position, self.reads = b"one", 0, 0
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def read(self) -> ReadAnswer:
        """Read it, as it is when the reading begins."""
        self.reads += 1
        answer = ReadAnswer(self.body, ("shop.shelves",), self.position)
        self.begun.set()
        await self.go_on.wait()
        return answer

    async def fail(self) -> ReadAnswer:
        """Fail, once that is let go on."""
        self.begun.set()
        await self.go_on.wait()
        raise LookupError("nothing there")


@pytest.fixture
def clock() -> SetClock:
    """A clock that is set by hand."""
    return SetClock()


@pytest.fixture
async def queries(clock: SetClock) -> AsyncIterator[QueryCache]:
    """An empty cache of answers."""
    queries = QueryCache(MemoryCache(clock), replace(_WORLD, clock=clock))
    yield queries
    await queries.close()


def asking(queries: QueryCache, read: Callable[[], Awaitable[ReadAnswer]], required: int = 0) -> Awaitable[KeptAnswer]:
    """Ask as an endpoint does."""
    return queries.answer("key", read, seconds=10, stale_seconds=20, required=required)


async def until(queries: QueryCache, read: Callable[[], Awaitable[ReadAnswer]], body: bytes) -> None:
    """Ask until the answer is `body`."""
    async with asyncio.timeout(5):
        while (await asking(queries, read)).body != body:
            await _WORLD.sleep(0)


async def test_all_who_ask_at_a_time_wait_for_one_reading(queries: QueryCache) -> None:
    """A hundred callers, one reading."""
    source = Source()
    source.go_on.clear()
    callers = [asyncio.ensure_future(asking(queries, source.read)) for _ in range(100)]
    await source.begun.wait()
    source.go_on.set()
    assert {(await caller).body for caller in callers} == {b"one"}
    assert source.reads == 1


async def test_the_reading_outlives_the_caller_who_began_it(queries: QueryCache) -> None:
    """The first caller goes away; the others get their answer all the same, from the same reading."""
    source = Source()
    source.go_on.clear()
    first = asyncio.ensure_future(asking(queries, source.read))
    await source.begun.wait()
    second = asyncio.ensure_future(asking(queries, source.read))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    source.go_on.set()
    assert (await second).body == b"one"
    assert source.reads == 1


async def test_a_reading_that_nobody_waits_for_ends(queries: QueryCache) -> None:
    """When the last caller goes away it is cancelled; who comes then begins another one."""
    source, ended = Source(), asyncio.Event()

    async def endless() -> ReadAnswer:
        source.begun.set()
        try:
            await asyncio.get_running_loop().create_future()
            raise AssertionError("unreachable")
        finally:
            ended.set()

    only = asyncio.ensure_future(asking(queries, endless))
    await source.begun.wait()
    only.cancel()
    answer = asyncio.ensure_future(asking(queries, source.read))
    await asyncio.wait([only])
    async with asyncio.timeout(5):
        await ended.wait()
    assert (await answer).body == b"one"


async def test_a_failure_is_everybodys_and_not_kept(queries: QueryCache) -> None:
    """All who waited get the reader's own error; the next caller reads anew."""
    source = Source()
    source.go_on.clear()
    callers = [asyncio.ensure_future(asking(queries, source.fail)) for _ in range(3)]
    await source.begun.wait()
    source.go_on.set()
    for caller in callers:
        with pytest.raises(LookupError):
            await caller
    assert (await asking(queries, source.read)).body == b"one"


async def test_who_comes_after_a_change_does_not_get_what_was_read_before_it(queries: QueryCache) -> None:
    """A reading that began before a change answers those who came before it, and no one who came after."""
    source = Source()
    source.go_on.clear()
    before = asyncio.ensure_future(asking(queries, source.read))
    await source.begun.wait()
    source.body = b"two"
    await queries.changed(["shop.shelves"])
    after = [asyncio.ensure_future(asking(queries, source.read)) for _ in range(20)]
    await asyncio.sleep(0)
    source.go_on.set()
    assert {(await caller).body for caller in after} == {b"two"}
    assert (await before).body == b"one"
    assert source.reads == 2
    assert (await asking(queries, source.read)).body == b"two"


async def test_who_has_seen_more_waits_for_a_reading_of_his_own(queries: QueryCache) -> None:
    """A newer token passes a kept answer over, and a reading that does not know of it; what it gets is kept."""
    source = Source()
    await asking(queries, source.read)
    source.body, source.position = b"two", 7
    assert (await asking(queries, source.read, required=7)).body == b"two"
    assert (await asking(queries, source.read, required=7)).body == b"two"
    assert (await asking(queries, source.read)).body == b"two"
    assert source.reads == 2


async def test_a_stale_answer_is_given_while_it_is_read_anew(queries: QueryCache, clock: SetClock) -> None:
    """Past its time it is given once more at once, with one reading behind; past both times nobody gets it."""
    source = Source()
    await asking(queries, source.read)
    source.body = b"two"
    clock.advance(11)
    source.go_on.clear()
    source.begun.clear()
    for _ in range(5):
        assert (await asking(queries, source.read)).body == b"one"
    await source.begun.wait()
    source.go_on.set()
    await until(queries, source.read, b"two")
    assert source.reads == 2
    source.body = b"three"
    clock.advance(31)
    assert (await asking(queries, source.read)).body == b"three"


async def test_a_stale_answer_that_cannot_be_read_anew_is_given_until_its_time_is_up(
    queries: QueryCache, clock: SetClock
) -> None:
    """A source that fails for a while is not noticed by who may be given a stale answer."""
    source = Source()
    await asking(queries, source.read)
    clock.advance(11)
    assert (await asking(queries, source.fail)).body == b"one"
    for _ in range(5):
        await asyncio.sleep(0)
    assert (await asking(queries, source.fail)).body == b"one"
    clock.advance(20)
    with pytest.raises(LookupError):
        await asking(queries, source.fail)


async def test_a_clock_that_goes_back_keeps_nothing_longer(queries: QueryCache, clock: SetClock) -> None:
    """An answer from the future is of unknown age: it is read anew."""
    source = Source()
    await asking(queries, source.read)
    clock.jump(-3_600)
    source.body = b"two"
    assert (await asking(queries, source.read)).body == b"two"


async def test_closing_leaves_no_reading_behind(queries: QueryCache, clock: SetClock) -> None:
    """Nothing runs any more once it is closed."""
    source = Source()
    await asking(queries, source.read)
    clock.advance(11)
    source.go_on.clear()
    source.begun.clear()
    await asking(queries, source.read)
    await source.begun.wait()
    await queries.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
