"""A world whose clock the test moves, stores in it, and messages to put into them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from random import Random
from uuid import UUID, uuid5

import msgspec

from colonnade.messages.envelope import Envelope
from colonnade.persistence.sqlite import SqliteStore, open_sqlite_store
from colonnade.persistence.store import Store, Touched
from colonnade.persistence.unit import Deliver, Effect, Publish, Unit
from colonnade.world import World, datetime_of

WITHIN_SECONDS = 20.0

START_MICROS = 1_800_000_000_000_000


class HandClock:
    """Both clocks stand still until the test moves them; who sleeps wakes when the time has passed."""

    def __init__(self) -> None:
        self._micros = START_MICROS
        self._monotonic = 1_000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._slept = asyncio.Event()

    def now(self) -> datetime:
        """The time of day."""
        return datetime_of(self._micros)

    def micros(self) -> int:
        """The time of day in microseconds."""
        return self._micros

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has let so many seconds pass."""
        if seconds <= 0:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._monotonic + seconds, woken))
        self._slept.set()
        await woken

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake those who slept until now."""
        self.jump(seconds)
        self._monotonic += seconds
        self.wake()

    def jump(self, seconds: float) -> None:
        """Put the time of day right or wrong: the monotonic clock does not follow."""
        self._micros += round(seconds * 1_000_000)

    def pass_unnoticed(self, seconds: float) -> None:
        """Let time pass of which sleepers hear only by the next `wake`, as when the process was stopped."""
        self.jump(seconds)
        self._monotonic += seconds

    def wake(self) -> None:
        """Wake those whose time has come."""
        due = [woken for until, woken in self._sleepers if until <= self._monotonic]
        self._sleepers = [(until, woken) for until, woken in self._sleepers if until > self._monotonic]
        for woken in due:
            if not woken.done():
                woken.set_result(None)

    async def asleep(self, seconds: float) -> None:
        """Return when somebody sleeps who will wake in `seconds` at the latest."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while not any(until <= self._monotonic + seconds and not who.done() for until, who in self._sleepers):
                self._slept.clear()
                await self._slept.wait()


class Dice:
    """Randomness that is the same in every run."""

    def __init__(self, seed: int = 1) -> None:
        self._random = Random(seed)  # noqa: S311 - nothing is kept secret by it

    def random(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()

    def bits(self, count: int) -> int:
        """So many random bits."""
        return self._random.getrandbits(count)


class Numbers:
    """Identifiers in a row."""

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> UUID:
        """The next one."""
        self._last += 1
        return UUID(int=self._last)


def world_of(clock: HandClock) -> World:
    """The world in which `clock` tells the time."""
    return World(clock, Dice(), Numbers(), clock.sleep)


@asynccontextmanager
async def opened(path: Path, world: World, name: str = "shop") -> AsyncIterator[SqliteStore]:
    """The store of one service."""
    store = await open_sqlite_store(path / f"{name}.sqlite3", world)
    try:
        yield store
    finally:
        await store.close()


async def commit(store: Store, world: World, *effects: Effect) -> None:
    """Commit `effects` together."""
    await store.commit(Unit(world.clock.micros(), world.ids.new(), effects=[*effects]))


@asynccontextmanager
async def running(loop: Callable[[], Awaitable[None]]) -> AsyncIterator["asyncio.Future[None]"]:
    """Keep a loop at work for the length of the block, which sees its failure as the result of the future."""
    task = asyncio.ensure_future(loop())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


class Commits:
    """Waits for what commits bring about."""

    def __init__(self, store: Store) -> None:
        self._changed = asyncio.Event()
        store.watch(self._touched)

    def _touched(self, touched: Touched) -> None:
        self._changed.set()

    def tell(self) -> None:
        """Something changed that is no commit."""
        self._changed.set()

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Return when `holds`, looking after every commit and, since not all commits are told of, now and then."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while not await holds():
                self._changed.clear()
                try:
                    async with asyncio.timeout(0.01):
                        await self._changed.wait()
                except TimeoutError:
                    continue


def envelope(type: str, data: bytes = b"{}", key: str = "a", version: int = 1, **more: object) -> bytes:
    """A message of the stored name `type`."""
    fields: dict[str, object] = {"id": uuid5(UUID(int=0), f"{type} {key} {data!r}"), **more}
    return msgspec.json.encode(
        msgspec.convert(
            {
                "specversion": "1.0",
                "source": "shop",
                "type": type,
                "subject": key,
                "time": datetime_of(START_MICROS),
                "data": msgspec.Raw(data),
                "dataversion": version,
                "correlationid": UUID(int=7),
                **fields,
            },
            Envelope,
        )
    )


def published(topic: str, key: str, number: int = 0) -> Publish:
    """A message on its way out."""
    return Publish(topic, key, UUID(int=number), envelope(f"{topic}.{number}", key=key))


def delivered(consumer: str, key: str, data: bytes, lane: str = "") -> Deliver:
    """A message of the service to itself."""
    return Deliver(consumer, key, envelope(consumer, data, key), lane)
