"""The law of what is done at once: whatever goes wrong, each message is done once, in order, and memory is right."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.persistence.failures import (
    LineBusy,
    NotAtOnce,
    StoreConflict,
    StoreFailed,
    VersionConflict,
    WriteFailed,
)
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.store import Committed, DueMessage, Store
from colonnade.persistence.unit import Append, Deliver, Handled, HandledAtOnce, NewEvent, Unit
from colonnade.persistence.work import StreamBusy, work_at_hand
from colonnade.workers.at_once import AtOnce, joint
from colonnade.workers.at_once.trying import Trying
from tests.execution.shops import FOR_EVER, WORLD, Shop, SoldOut
from tests.workers.hands import envelope

PORTER = "porter"
GOODS = ("milk", "eggs", "bread")
SOME = ("milk", "milk", "milk", "eggs", "bread")
Doing = Literal["agree", "look", "fail", "refuse", "wait"]
Fault = Literal["no", "line", "version", "write", "store"]


class Task(msgspec.Struct):
    """Something to be done with goods, and what it sends; `number` is its own, and how much it brings."""

    of: str
    doing: Doing
    then: "list[Task]"
    number: int = 0


@dataclass(frozen=True)
class Root:
    """A unit that brings tasks, whose caller may be cancelled after some turns of the loop."""

    tasks: Sequence[Task]
    cancelled_after: int | None


@dataclass(frozen=True)
class Case:
    """What comes at the same time, and what the store says of the commits of several units."""

    roots: Sequence[Root]
    commands: Sequence[str]
    faults: Sequence[Fault]
    closed_after: int | None


def tasks(depth: int) -> st.SearchStrategy[Task]:
    """Trees of tasks."""
    then = st.lists(tasks(depth - 1), max_size=2) if depth else st.builds(list)
    doing = st.sampled_from(["agree"] * 8 + ["look", "look", "fail", "refuse", "refuse", "wait"])
    return st.builds(Task, st.sampled_from(SOME), doing, then)


CASES = st.builds(
    Case,
    st.lists(
        st.builds(Root, st.lists(tasks(4), min_size=1, max_size=3), st.none() | st.none() | st.integers(0, 60)),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.sampled_from(GOODS), max_size=3),
    st.lists(st.sampled_from(["no", "no", "line", "version", "write", "store"]), max_size=6),
    st.none() | st.none() | st.integers(0, 60),
)


@dataclass
class House:
    """Where it is done."""

    store: Store
    faults: Iterator[Fault]
    failed: set[int] = field(default_factory=set)
    holds: bool = True
    joins: bool = True

    def __post_init__(self) -> None:
        self._commit: Callable[[Unit], Awaitable[Committed]] = self.store.commit
        self.at_once = AtOnce(self.store, WORLD)
        self.shop = Shop(self.store, at_once=self.at_once)
        self.at_once.open({PORTER: self})

    async def commit(self, unit: Unit) -> Committed:
        """Commit, or fail where several units are to be committed."""
        if unit.followers:
            fault: Fault = next(self.faults, "no")
            lines = [
                (each.consumer, each.key)
                for one in (unit, *unit.followers)
                for each in one.effects
                if isinstance(each, HandledAtOnce)
            ]
            match fault:
                case "line":
                    raise LineBusy(*lines[-1])
                case "version":
                    raise VersionConflict("Stock/milk", 1, 2)
                case "write":
                    raise WriteFailed("shop", "no")
                case "store":
                    raise StoreFailed("shop", "no")
                case "no":
                    pass
        return await self._commit(unit)

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Do a task."""
        task = msgspec.json.decode(envelope.data, type=Task)

        async def handle() -> None:
            stock = await self.shop.stock(task.of)
            if task.doing == "wait":
                await asyncio.sleep(0)
                if task.number not in self.failed:
                    self.failed.add(task.number)
                    await asyncio.sleep(2 * joint.JOINING_SECONDS)
            if task.doing != "look":
                stock.reserve(-task.number)
            if task.doing == "fail" and task.number not in self.failed:
                self.failed.add(task.number)
                raise RuntimeError("dropped it")
            if task.doing == "refuse":
                raise SoldOut(0)
            work_at_hand().effects.extend(brought(each) for each in task.then)

        await self.shop.execution.run(handle, context=context, base=[Handled(due.row)])

    async def do_waiting(self) -> None:
        """Do what lies in the inbox, as a worker does."""
        while due := await self.store.inbox.due(FOR_EVER, 1):
            (message,) = due
            try:
                await self.consume(message, Envelope.decode(message.envelope), Context(UUID(int=4)))
            except (RuntimeError, StoreConflict, StoreFailed):
                continue

    async def is_held(self, of: str) -> bool:
        """Whether somebody has a stream."""
        try:
            await self.shop.run(lambda: self.shop.stock(of), base=[Handled(-1_000_000)])
        except StreamBusy:
            return True
        except NotAtOnce:
            return False
        raise AssertionError("nobody does such a message")


def brought(task: Task) -> Deliver:
    """The message that brings a task."""
    return Deliver(PORTER, task.of, envelope("shop.Task", msgspec.json.encode(task), task.of))


def numbered(root: Sequence[Task], numbers: Iterator[int]) -> None:
    """Tell them apart."""
    for task in root:
        task.number = next(numbers)
        numbered(task.then, numbers)


def done_of(root: Sequence[Task]) -> Iterator[Task]:
    """What is to be done, if the first are."""
    for task in root:
        if task.doing != "refuse":
            yield task
            yield from done_of(task.then)


def in_order(root: Sequence[Task], before: int, place: dict[int, int]) -> None:
    """Whether each is done after what it follows from, and after what was sent to its line before it."""
    last: dict[str, int] = {}
    for task in root:
        if task.doing == "refuse":
            continue
        at = place.get(task.number, max(before, last.get(task.of, 0)))
        assert at >= before
        assert at >= last.get(task.of, 0)
        last[task.of] = at
        in_order(task.then, at, place)


async def law(case: Case, data: Path) -> None:
    """Let all come at once, do what is left, and look."""
    store = await open_sqlite_store(data / "shop.sqlite3", WORLD)
    try:
        house = House(store, iter(case.faults))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "commit", house.commit)
            patch.setattr(Trying, "is_worth", lambda self, message: True)
            patch.setattr(joint, "JOINING_SECONDS", 0.03)
            await _all_at_once(case, house)
            # Behind what was handed in by those who were cancelled
            await store.commit(Unit(1, UUID(int=6)))
            await house.do_waiting()
            await store.commit(Unit(1, UUID(int=6)))  # who was committed goes on
            await _look(case, house)  # first: what is not to be done takes what lies in memory with it
            assert [await house.is_held(of) for of in GOODS] == [False] * 3
    finally:
        await store.close()


async def _all_at_once(case: Case, house: House) -> None:
    async def bring(number: int, root: Root) -> None:
        mark = Append(f"Root/{number}", 0, [NewEvent(WORLD.ids.new(), "Noted", 1, b"{}")])
        await house.at_once.commit(Unit(1, UUID(int=3), effects=[mark, *map(brought, root.tasks)]))

    async def cancel(task: "asyncio.Task[None]", turns: int | None) -> None:
        if turns is not None:
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()

    async def close() -> None:
        if case.closed_after is not None:
            for _ in range(case.closed_after):
                await asyncio.sleep(0)
            await house.at_once.close()
            house.at_once.open({PORTER: house})

    for of in GOODS[:2]:
        await house.shop.reserve(of, quantity=-1_000)
    roots = [asyncio.ensure_future(bring(number, root)) for number, root in enumerate(case.roots)]
    results = await asyncio.gather(
        *roots,
        *(cancel(task, root.cancelled_after) for task, root in zip(roots, case.roots, strict=True)),
        *(house.shop.reserve(of, quantity=-10_000) for of in case.commands),
        close(),
        return_exceptions=True,
    )
    for result in results:
        if isinstance(result, BaseException) and not isinstance(
            result, asyncio.CancelledError | StoreFailed | StoreConflict
        ):
            raise result


async def _look(case: Case, house: House) -> None:
    place: dict[int, int] = {}
    commands = dict.fromkeys(GOODS, 0)
    for of in GOODS:
        total = 0
        events = await house.store.log.stream(f"Stock/{of}", 0, 1_000)
        assert [event.version for event in events] == [*range(1, len(events) + 1)]
        for event in events:
            number = -msgspec.json.decode(event.data)["quantity"]
            total += number
            if number == 10_000:
                commands[of] += 1
            elif number != 1_000:
                assert number not in place, "done twice"
                place[number] = event.position
        assert await house.shop.left(of) == 100 + total
    assert [commands[of] for of in GOODS] == [case.commands.count(of) for of in GOODS]
    expected: set[int] = set()
    for number, root in enumerate(case.roots):
        if await house.store.log.stream(f"Root/{number}"):
            expected |= {task.number for task in done_of(root.tasks) if task.doing != "look"}
            in_order(root.tasks, 0, place)
    assert set(place) == expected


@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(CASES)
@example(Case([Root([Task("milk", "agree", [Task("milk", "refuse", [])])], None)], [], [], None))
def test_whatever_goes_wrong_each_is_done_once_and_in_order(case: Case) -> None:
    """Streams are free again, versions have no holes, and what lies in memory is what the streams say."""
    numbers = count(1)
    for root in case.roots:
        numbered(root.tasks, numbers)
    with TemporaryDirectory() as data:
        asyncio.run(law(case, Path(data)))
