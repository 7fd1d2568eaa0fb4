"""The travel system at work, in a world where the test lets time pass."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import msgspec

from colonnade.application import Saga
from colonnade.messages import Command
from colonnade.messages.envelope import Envelope
from colonnade.observability.health import HealthState
from colonnade.persistence import DataDirectory
from colonnade.persistence.addresses import replies_of
from colonnade.persistence.reply import Reply
from colonnade.persistence.reply_keys import Direction, ReplyKey
from colonnade.persistence.store import Store
from colonnade.persistence.unit import ArmTimer, Deliver, Effect, Publish, Unit
from colonnade.system import System
from colonnade.system.admin.operations import SteerSaga
from colonnade.system.admin.perform import Administered, perform
from colonnade.system.engines import embedded_engines
from colonnade.system.hosts.supervision import Supervisor
from colonnade.system.runtime import build
from colonnade.testing.running import RunningSystem
from colonnade.workers.consumers import NOBODY
from colonnade.workers.sagas.history import End, SagaEvent
from colonnade.workers.sagas.instance import SagaInstance
from colonnade.workers.sagas.messages import consumer_of
from colonnade.world import World, datetime_of, real_world
from tests.sagas.travel.clerks import Clerks
from tests.sagas.travel.stations import stations
from tests.sagas.travel.stations.contracts import Unbook
from tests.sagas.travel.trips import BookTrip, PlanTrip, trips
from tests.sagas.travel.trips.contracts import TripPlanned

WITHIN_SECONDS = 20.0
TRIP = UUID(int=7)
START_MICROS = 1_800_000_000_000_000
_FAR = 1 << 60


class StillClock:
    """Stands still but for the time that a test lets pass."""

    def __init__(self, passed_seconds: float) -> None:
        self.passed_seconds = passed_seconds

    def now(self) -> datetime:
        """The time of day."""
        return datetime_of(self.micros())

    def micros(self) -> int:
        """The time of day in microseconds."""
        return START_MICROS + round(self.passed_seconds * 1_000_000)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self.passed_seconds


class Travel:
    """The system, and one trip in it."""

    def __init__(self, system: RunningSystem, clerks: Clerks, clock: StillClock, running: AsyncExitStack) -> None:
        self.system, self.clerks = system, clerks
        self._clock = clock
        self._running = running
        self._committed = asyncio.Event()
        for service in system.runtime.services.values():
            service.store.watch(lambda _: self._committed.set())

    @property
    def trips(self) -> Store:
        """The store in which the saga is."""
        return self.system.runtime.services["trips"].store

    @property
    def stations(self) -> Store:
        """The store of the service that does its steps."""
        return self.system.runtime.services["stations"].store

    async def start(self, *loops: str) -> None:
        """Let loops run until the end."""
        runtime = self.system.runtime
        supervisor = Supervisor({name: runtime.loops[name] for name in loops}, runtime.world)
        await self._running.enter_async_context(_at_work(supervisor))

    async def plan(self, *legs: str, seconds: float = 60.0) -> None:
        """Begin the trip; the seats of a leg that are booked together are named with a blank between."""
        await self.execute(PlanTrip(TRIP, tuple(tuple(leg.split()) for leg in legs), seconds))

    async def execute(self, command: Command[None]) -> None:
        """Carry a command out."""
        await self.system.execute(command)

    async def steer(self, action: Literal["retry", "skip", "compensate", "close"], step: str | None = None) -> None:
        """Do by hand what an operator can."""
        trips = self.system.runtime.services["trips"]
        services = {"trips": Administered(trips.store, acted=trips.worker.look_again)}
        operation = SteerSaga("trips", "BookTrip", TRIP, action, step)
        async for _ in perform(operation, services, self.system.runtime.world):
            pass

    async def saga(self) -> SagaInstance | None:
        """How the saga stands."""
        history = await self.history()
        if not history:
            return None
        instance = SagaInstance(TRIP)
        instance.replay(history)
        return instance

    async def history(self) -> Sequence[SagaEvent]:
        """What is recorded of the saga."""
        events = await self.trips.log.stream(f"BookTrip/{TRIP}", 0, 1_000)
        codec = self.system.runtime.codec
        decoded: list[Any] = [codec.decode(event.name, event.schema, event.data) for event in events]
        return decoded

    async def ended(self) -> End:
        """How the saga ended, once it has."""
        end: End | None = None

        async def has_ended() -> bool:
            nonlocal end
            saga = await self.saga()
            end = saga.end if saga is not None else None
            return end is not None

        await self.until(has_ended)
        assert end is not None
        return end

    async def booked(self) -> Sequence[str]:
        """What happened at the stations: +seat and -seat, in order."""
        signs = {"stations.Booked": "+", "stations.Unbooked": "-"}
        events = await self.stations.log.stream(f"Seats/{TRIP}", 0, 1_000)
        return [signs[event.name] + msgspec.json.decode(event.data)["seat"] for event in events]

    async def told(self) -> Sequence[tuple[str, dict[str, Any]]]:
        """What the trip was told of its end."""
        events = await self.trips.log.stream(f"Trip/{TRIP}", 1, 1_000)
        return [(event.name.removeprefix("trips."), msgspec.json.decode(event.data)) for event in events]

    def now(self) -> int:
        """The time in microseconds."""
        return self._clock.micros()

    async def waits(self, service: str, count: int = 1) -> bool:
        """Whether so many messages wait in the inbox of a service."""
        return await self.system.runtime.services[service].store.inbox.unhandled() >= count

    async def is_idle(self, service: str) -> bool:
        """Whether nothing waits in the inbox of a service."""
        return not await self.waits(service)

    async def is_at(self, end: End) -> bool:
        """Whether the saga has ended so."""
        saga = await self.saga()
        return saga is not None and saga.end is end

    async def health(self, service: str) -> Sequence[HealthState]:
        """What a service tells of itself."""
        return self.system.runtime.services[service].health.states()

    async def has_answered(self) -> bool:
        """Whether a message of the stations is on its way out."""
        return bool([row for row in await self.stations.outbox.pending(0, 10) if b"|do|" in row.envelope])

    async def has_happened(self, *booked: str) -> bool:
        """Whether that happened at the stations."""
        return await self.booked() == [*booked]

    async def fails(self, service: str) -> bool:
        """Whether a message failed, and will be tried again."""
        return any(state.name == f"{service}.failing" for state in await self.health(service))

    async def is_undone(self, seat: str) -> bool:
        """Whether the stations remember that a seat was given back, or is not to be booked."""
        mark = self._asking(seat, Direction.UNDO).mark("trips")
        return bool(await self.stations.answers(mark))

    def _asking(self, seat: str, direction: Direction) -> ReplyKey:
        return ReplyKey(consumer_of("BookTrip"), str(TRIP), seat, direction, 1)

    async def undoing(self, seat: str) -> bytes:
        """The command that undoes the booking of a seat."""
        codec, world = self.system.runtime.codec, self.system.runtime.world
        name, version, data = codec.encode(Unbook(TRIP, seat))
        return Envelope(
            specversion="1.0",
            id=world.ids.new(),
            source="trips",
            type=name,
            subject="undo",
            time=world.clock.now(),
            data=msgspec.Raw(data),
            dataversion=version,
            correlationid=world.ids.new(),
            replyto="trips",
            replykey=str(self._asking(seat, Direction.UNDO)),
        ).encode()

    async def publish_what_fails(self) -> None:
        """Send the saga an answer that it cannot read, from the stations."""
        world = self.system.runtime.world
        envelope = Envelope(
            specversion="1.0",
            id=world.ids.new(),
            source="stations",
            type=Reply.NAME,
            subject=str(TRIP),
            time=world.clock.now(),
            data=msgspec.Raw(b"{}"),
            correlationid=world.ids.new(),
            replykey=f"{consumer_of('BookTrip')}|{TRIP}|to what?",
        )
        await self.commit(
            self.stations, Publish(replies_of("trips"), str(TRIP), envelope.id, envelope.encode())
        )  # fmt: skip

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and all loops look at the clock."""
        self._clock.passed_seconds += seconds
        tick = Deliver(NOBODY, "tick", b"{}")
        for service in self.system.runtime.services.values():
            await self.commit(service.store, ArmTimer("tick", _FAR, tick))
            await service.worker.look_again()

    async def pass_time_until(self, holds: Callable[[], Awaitable[bool]], step_seconds: float = 0.5) -> None:
        """Let time pass, a little after the other, until `holds`."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while not await holds():
                self._committed.clear()
                await self.pass_time(step_seconds)
                await self._committed.wait()

    async def commit(self, store: Store, *effects: Effect) -> None:
        """Put something into a store."""
        world = self.system.runtime.world
        await store.commit(Unit(world.clock.micros(), world.ids.new(), effects=[*effects]))

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Return when `holds`, looking after every commit."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                self._committed.clear()
                if await holds():
                    return
                await self._committed.wait()


@asynccontextmanager
async def _at_work(supervisor: Supervisor) -> AsyncIterator[None]:
    task = asyncio.create_task(supervisor.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def travelling(
    data: Path,
    *,
    without: Collection[str] = (),
    only: Collection[str] | None = None,
    clerks: Clerks | None = None,
    passed_seconds: float = 0.0,
    saga: type[Saga[TripPlanned]] = BookTrip,
) -> AsyncIterator[Travel]:
    """The system, running, but for the loops in `without`, or with those in `only`."""
    real = real_world()
    clock = StillClock(passed_seconds)
    clerks = clerks or Clerks()
    world = World(clock, real.randomness, real.ids, real.sleep)
    system = System("travel", [trips(clerks, saga), stations(clerks)])
    runtime = await build(system, embedded_engines(DataDirectory(data), world), world)
    async with AsyncExitStack() as running:
        running.push_async_callback(runtime.close)
        travel = Travel(RunningSystem(runtime), clerks, clock, running)
        await travel.start(*(only if only is not None else [name for name in runtime.loops if name not in without]))
        # Nobody who waits still keeps the workers from stopping
        running.callback(clerks.may_go_on.set)
        yield travel
