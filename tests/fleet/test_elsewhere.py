"""Calls between services: the same over HTTP as in one process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from colonnade.brokers.broker import Carried
from colonnade.discovery import Address
from colonnade.discovery.files import LOOK_SECONDS, FileRegistry, write_registry
from colonnade.messages.codec import MessageCodec
from colonnade.observability.correlation import Context, current_context
from colonnade.persistence.unit import ChainId, Publish, Relayed, Unit
from colonnade.presentation.balancing import Balancer
from colonnade.presentation.upstream import NotReached, UpstreamFailed
from colonnade.system.hosts.fleet.elsewhere import HttpElsewhere
from colonnade.workers.refetching import ChainEnd, Obstacle, Refetched
from colonnade.workers.succession import Histories
from colonnade.world import real_world
from tests.fleet import library as lib
from tests.fleet.contracts import AlreadyTaken, Book, BooksOn, NoSuchShelf, PutBack, TakeBook, Wait
from tests.fleet.library import SINCE, SLIP, Library, apart, together

WORLD = real_world()

Opened = Callable[[Path], AbstractAsyncContextManager[Library]]


@pytest.fixture(params=[together, apart], ids=["together", "apart"])
async def library(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Library]:
    """The library, in one process and in two."""
    opened: Opened = request.param
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Library]:
    """The library in two processes."""
    async with apart(tmp_path) as made:
        yield made


async def test_a_query_is_answered_with_values(library: Library) -> None:
    """Of their own types, decimals and letters as they were."""
    answer = await library.mediator.ask(BooksOn("novels"))
    assert answer == (Book(1, "Emma", Decimal("9.90")), Book(2, "Käsebier", Decimal("12.00")))


async def test_a_command_is_answered(library: Library) -> None:
    """With what its handler returns, or with nothing."""
    assert await library.mediator.execute(TakeBook(1)) == SLIP
    assert await library.mediator.execute(PutBack(1)) is None  # type: ignore[func-returns-value]


async def test_a_refusal_is_raised_as_itself(library: Library) -> None:
    """With its fields in their types, of queries and of commands."""
    with pytest.raises(NoSuchShelf) as unknown:
        await library.mediator.ask(BooksOn("poems"))
    assert unknown.value.shelf == "poems"
    with pytest.raises(AlreadyTaken) as taken:
        await library.mediator.execute(TakeBook(2))
    assert (taken.value.number, taken.value.since, taken.value.fine) == (2, SINCE, Decimal("0.50"))
    assert type(taken.value.fine) is Decimal


async def test_the_context_goes_along(two: Library) -> None:
    """Correlation, cause, principal and trace are those of the caller."""
    context = Context(UUID(int=1), UUID(int=2), "ann", "00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    lib.seen.clear()
    at_hand = current_context.set(context)
    try:
        await two.mediator.execute(TakeBook(1))
    finally:
        current_context.reset(at_hand)
    (there,) = lib.seen
    assert there is not None
    assert (there.correlation_id, there.causation_id, there.principal, there.traceparent) == (
        context.correlation_id,
        context.causation_id,
        "ann",
        context.traceparent,
    )


async def test_nobody_waits_beyond_the_deadline(two: Library) -> None:
    """It is handed on, and holds here too."""
    deadline = WORLD.clock.monotonic() + 0.2
    at_hand = current_context.set(Context(UUID(int=1), deadline=deadline))
    try:
        with pytest.raises((TimeoutError, UpstreamFailed)):
            await two.mediator.ask(Wait())
    finally:
        current_context.reset(at_hand)
    # The connection with the answer that never came is not used again
    assert len(await two.mediator.ask(BooksOn("novels"))) == 2


async def test_a_service_without_instances_is_told(two: Library) -> None:
    """By its name; and found again when it is back, passing over an instance that is not there."""
    write_registry(two.registry, {})
    await WORLD.sleep(LOOK_SECONDS)
    with pytest.raises(NotReached, match="shelf did not answer: no instance of it is running"):
        await two.mediator.ask(BooksOn("novels"))
    write_registry(two.registry, {"shelf": [Address("127.0.0.1", 1), two.address]})
    await WORLD.sleep(LOOK_SECONDS)
    for _ in range(4):
        assert len(await two.mediator.ask(BooksOn("novels"))) == 2


async def test_what_a_broker_lost_comes_from_its_producer(two: Library, tmp_path: Path) -> None:
    """Page by page from its outbox; nothing of another history or from who is away. It says which is its."""
    store = two.shelf_runtime.services["shelf"].store
    sent = [Publish("shelf.events", "a", UUID(int=number), b"%d" % number) for number in range(3)]
    await store.commit(Unit(1, UUID(int=1), effects=[*sent]))
    rows = await store.outbox.pending(0, 10)
    registry = FileRegistry(two.registry, WORLD.clock)
    elsewhere = HttpElsewhere(Balancer(registry), MessageCodec(two.shelf_runtime.codec.names), WORLD.clock)
    chain = ChainId("shelf", store.history, "shelf.events", rows[0].partition)
    carried = (await elsewhere.refetch(chain, rows[0].seq)).messages
    assert [each.seq for each in carried] == [row.seq for row in rows[1:]]
    assert all(isinstance(each, Carried) for each in carried)
    other = ChainId("shelf", UUID(int=9), "shelf.events", 0)
    assert await elsewhere.refetch(other, 0) == Refetched([], Obstacle.OTHER_HISTORY)
    away = ChainId("away", store.history, "shelf.events", 0)
    assert await elsewhere.refetch(away, 0) == Refetched(obstacle=Obstacle.AWAY)
    assert await elsewhere.histories("shelf") == Histories(store.history, {})
    assert await elsewhere.histories("away") is None


async def test_a_producer_says_how_far_it_has_published(two: Library) -> None:
    """To the topics that are asked for; who is away says nothing."""
    store = two.shelf_runtime.services["shelf"].store
    marks = [Relayed("shelf.events", 3, 7), Relayed("desk.commands", 1, 8), Relayed("other.commands", 1, 9)]
    await store.commit(Unit(1, UUID(int=1), effects=[*marks]))
    registry = FileRegistry(two.registry, WORLD.clock)
    elsewhere = HttpElsewhere(Balancer(registry), MessageCodec(two.shelf_runtime.codec.names), WORLD.clock)
    assert sorted(await elsewhere.ends("shelf", ["shelf.events", "desk.commands"]), key=lambda end: end.seq) == [
        ChainEnd(ChainId("shelf", store.history, "shelf.events", 3), 7, False),
        ChainEnd(ChainId("shelf", store.history, "desk.commands", 1), 8, False),
    ]
    assert await elsewhere.ends("away", ["shelf.events"]) == ()
