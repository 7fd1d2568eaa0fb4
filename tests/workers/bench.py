"""A worker at its bench: a store, and consumers that do what the test tells them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context
from colonnade.observability.foreground import Foreground
from colonnade.persistence.sqlite import SqliteStore
from colonnade.persistence.store import DueMessage, ParkedMessage
from colonnade.persistence.unit import Append, Effect, Handled, NewEvent, Unit
from colonnade.workers.backoff import ATTEMPTS
from colonnade.workers.consumers import Consumer
from colonnade.workers.worker import Worker
from colonnade.world import World
from tests.workers.hands import WITHIN_SECONDS, Commits, HandClock, commit, delivered, opened, running, world_of

Fault = Callable[[], Exception | None]


@dataclass
class Script:
    """Handles messages by recording their data in the log, unless the test has other plans for their key."""

    store: SqliteStore
    world: World
    holds: bool = True
    joins: bool = False
    tried: list[str] = field(default_factory=list)
    faults: dict[str, Fault] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    at_work: int = 0
    most_at_work: int = 0
    contexts: list[Context] = field(default_factory=list)

    async def consume(self, due: DueMessage, envelope: Envelope, context: Context) -> None:
        """Handle one message."""
        said = bytes(envelope.data).decode()
        self.tried.append(said)
        self.contexts.append(context)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        self.began.set()
        try:
            if (gate := self.gates.get(due.key)) is not None:
                await gate.wait()
            if (fault := self.faults.get(due.key)) is not None and (error := fault()) is not None:
                raise error
            stream = f"Done/{due.key}"
            version = len(await self.store.log.stream(stream))
            event = NewEvent(self.world.ids.new(), "Done", 1, bytes(envelope.data))
            effects: list[Effect] = [Handled(due.row), Append(stream, version, [event])]
            await self.store.commit(Unit(self.world.clock.micros(), context.correlation_id, effects=effects))
        finally:
            self.at_work -= 1

    async def until_tried(self, count: int) -> None:
        """Wait until messages have been tried so many times."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while len(self.tried) < count:
                self.began.clear()
                await self.began.wait()


class DoneInTheLog:
    """Whose consumers record what they do: each effect is in the log as often as it was committed."""

    store: SqliteStore
    commits: Commits

    async def done(self, key: str) -> list[str]:
        """What was done for a key, in order; each effect is in the log as often as it was committed."""
        return [event.data.decode().strip('"') for event in await self.store.log.stream(f"Done/{key}")]

    async def until_done(self, key: str, *says: str) -> None:
        """Wait until exactly this was done."""

        async def is_done() -> bool:
            return await self.done(key) == list(says)

        await self.commits.until(is_done)


@dataclass
class Bench(DoneInTheLog):
    """A store with a worker on it."""

    store: SqliteStore
    world: World
    clock: HandClock
    foreground: Foreground
    worker: Worker
    scripts: Mapping[str, Script]
    commits: Commits

    @property
    def script(self) -> Script:
        """The consumer of messages for "work"."""
        return self.scripts["work"]

    async def put(self, key: str, *says: str, consumer: str = "work", lane: str = "") -> None:
        """Put messages at the end of a line."""
        messages = [delivered(consumer, key, f'"{said}"'.encode(), lane) for said in says]
        await commit(self.store, self.world, *messages)

    async def parked(self, count: int) -> list[ParkedMessage]:
        """Wait until so many are parked."""

        async def are_parked() -> bool:
            return await self.store.inbox.parked_count() == count

        await self.commits.until(are_parked)
        return await self.store.inbox.parked()

    async def waiting_until(self, after: int = 0) -> int:
        """Wait until a message waits to be tried again, at a moment beyond `after`; that moment."""

        async def does() -> bool:
            return await self._retry() > max(after, self.clock.micros())

        await self.commits.until(does)
        return await self._retry()

    async def _retry(self) -> int:
        return await self.store.inbox.next_due_after(self.clock.micros()) or 0

    async def hold(self, keys: Sequence[str]) -> None:
        """Put a message of each key into the inbox, that does not end before the test opens its gate."""
        for key in keys:
            self.script.gates[key] = asyncio.Event()
        await commit(self.store, self.world, *(delivered("work", key, f'"{key}"'.encode()) for key in keys))

    def let_go(self) -> None:
        """Let all messages end."""
        for gate in self.script.gates.values():
            gate.set()

    async def advance(self, seconds: float) -> None:
        """Let time pass, and the worker look."""
        self.clock.advance(seconds)
        await self.worker.look_again()

    async def advance_to(self, moment: int) -> None:
        """Let time pass until `moment`, in microseconds."""
        await self.advance((moment - self.clock.micros()) / 1_000_000)

    def told(self) -> dict[str, str]:
        """The health states, by name."""
        return {state.name: state.detail for state in self.worker.health()}

    async def until_told(self, expected: Mapping[str, str]) -> None:
        """Wait until these are the health states: the worker learns of a commit after the store has it."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while self.told() != expected:  # noqa: ASYNC110 - health is asked, it tells nobody
                await asyncio.sleep(0.001)


@asynccontextmanager
async def a_bench(
    path: Path, *consumers: str, holds: bool = True, attempts: int = ATTEMPTS, at_work: bool = True
) -> AsyncIterator[Bench]:
    """A worker for `consumers`, or for "work", that runs if it is to be `at_work`."""
    clock = HandClock()
    world = world_of(clock)
    async with opened(path, world) as store:
        scripts = {name: Script(store, world, holds) for name in consumers or ("work",)}
        handlers: Mapping[str, Consumer] = {**scripts}
        foreground = Foreground()
        worker = Worker("shop", store, handlers, world, foreground, attempts)
        bench = Bench(store, world, clock, foreground, worker, scripts, Commits(store))
        if not at_work:
            yield bench
            return
        async with running(worker.run):
            yield bench


def always(error: str) -> Fault:
    """Fails every time."""
    return lambda: RuntimeError(error)


def times(count: int, error: Callable[[], Exception]) -> Fault:
    """Fails so many times."""
    left = [count]

    def fault() -> Exception | None:
        if left[0] == 0:
            return None
        left[0] -= 1
        return error()

    return fault
