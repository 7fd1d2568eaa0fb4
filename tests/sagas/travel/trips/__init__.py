"""Trips: planned, and then booked by a saga."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from colonnade.application import Plan, Repository, Saga, Sagas, Step, Together, Why
from colonnade.domain import Aggregate, Conflict
from colonnade.messages import Command, Event
from colonnade.system import Service
from tests.sagas.travel.clerks import Clerks
from tests.sagas.travel.stations.contracts import Book, Unbook
from tests.sagas.travel.trips import contracts
from tests.sagas.travel.trips.contracts import TripPlanned

__all__ = ["BookTrip", "CancelTrip", "PlanTrip", "trips"]


class NotNow(Conflict):
    """The trip cannot be changed now."""


class TripBooked(Event):
    """All seats are booked."""


class TripFailed(Event):
    """Not all seats could be booked, and none is any more."""

    step: str
    code: str


class Trip(Aggregate[TripPlanned | TripBooked | TripFailed]):
    """A trip."""

    def plan(self, legs: tuple[tuple[str, ...], ...], seconds: float) -> None:
        """Begin."""
        self.record(TripPlanned(self.id, legs, seconds))

    def end(self, event: TripBooked | TripFailed) -> None:
        """Take down how it ended."""
        self.record(event)

    def apply(self, event: TripPlanned | TripBooked | TripFailed) -> None:
        """Keep nothing."""


class PlanTrip(Command):
    """Begin a trip."""

    trip_id: UUID
    legs: tuple[tuple[str, ...], ...]
    seconds: float = 60.0


class CompleteTrip(Command):
    """All seats are booked."""

    trip_id: UUID


class FailTrip(Command):
    """Not all seats could be booked."""

    trip_id: UUID
    step: str
    code: str


class Pack(Command):
    """Pack a bag, which the service does by itself."""

    trip_id: UUID
    bag: str


class Unpack(Command):
    """Unpack it."""

    trip_id: UUID
    bag: str


class Packed(Event):
    """A bag is packed."""

    bag: str


class Unpacked(Event):
    """It is not any more."""

    bag: str


class Bag(Aggregate[Packed | Unpacked, str]):
    """A bag of one trip."""

    def note(self, event: Packed | Unpacked) -> None:
        """Take down what was done."""
        self.record(event)

    def apply(self, event: Packed | Unpacked) -> None:
        """Keep nothing."""


class CancelTrip(Command):
    """Somebody stays at home."""

    trip_id: UUID


class BookTrip(Saga[TripPlanned]):
    """Book seat by seat; what is called a bag is packed at home."""

    def key(self, event: TripPlanned) -> UUID:
        """Known by its trip."""
        return event.trip_id

    def plan(self, event: TripPlanned) -> Plan:
        """The stages of the event."""
        of, timeout = event.trip_id, timedelta(seconds=event.seconds)

        def step(seat: str) -> Step:
            if seat.startswith("bag"):
                return Step(seat, Pack(of, seat), undo=Unpack(of, seat), timeout=timeout)
            undo = Unbook(of, seat) if not seat.endswith("!") else None
            return Step(seat, Book(of, seat), undo=undo, timeout=timeout)

        stages = [Together(*map(step, leg)) if len(leg) > 1 else step(leg[0]) for leg in event.legs]
        return Plan(*stages, completed=CompleteTrip(of), failed=lambda why: _failed(of, why))


def _failed(trip_id: UUID, why: Why) -> FailTrip:
    return FailTrip(trip_id, why.step, why.code)


@dataclass(frozen=True)
class PlanTripHandler:
    """Plans."""

    trips: Repository[Trip]

    async def __call__(self, command: PlanTrip) -> None:
        """Plan."""
        trip = Trip(command.trip_id)
        trip.plan(command.legs, command.seconds)
        self.trips.add(trip)


@dataclass(frozen=True)
class CompleteTripHandler:
    """Takes down that it is booked."""

    trips: Repository[Trip]
    clerks: Clerks

    async def __call__(self, command: CompleteTrip) -> None:
        """Take it down."""
        if await self.clerks.decide("complete") == "refuse":
            raise NotNow()
        (await self.trips.get(command.trip_id)).end(TripBooked())


@dataclass(frozen=True)
class FailTripHandler:
    """Takes down that it is not."""

    trips: Repository[Trip]
    clerks: Clerks

    async def __call__(self, command: FailTrip) -> None:
        """Take it down."""
        if await self.clerks.decide("fail") == "refuse":
            raise NotNow()
        (await self.trips.get(command.trip_id)).end(TripFailed(command.step, command.code))


@dataclass(frozen=True)
class PackHandler:
    """Packs."""

    bags: Repository[Bag]
    clerks: Clerks

    async def __call__(self, command: Pack) -> None:
        """Pack."""
        if await self.clerks.decide(f"book {command.bag}") == "refuse":
            raise NotNow()
        (await _bag(self.bags, command.trip_id, command.bag)).note(Packed(command.bag))


@dataclass(frozen=True)
class UnpackHandler:
    """Unpacks."""

    bags: Repository[Bag]
    clerks: Clerks

    async def __call__(self, command: Unpack) -> None:
        """Unpack."""
        if await self.clerks.decide(f"unbook {command.bag}") == "refuse":
            raise NotNow()
        (await _bag(self.bags, command.trip_id, command.bag)).note(Unpacked(command.bag))


async def _bag(repository: Repository[Bag], trip_id: UUID, name: str) -> Bag:
    id = f"{trip_id}/{name}"
    bag = await repository.find(id)
    if bag is None:
        bag = Bag(id)
        repository.add(bag)
    return bag


@dataclass(frozen=True)
class CancelTripHandler:
    """Cancels."""

    sagas: Sagas

    async def __call__(self, command: CancelTrip) -> None:
        """Tell the saga."""
        self.sagas.cancel(BookTrip, command.trip_id, "somebody stays at home")


def trips(clerks: Clerks, saga: type[Saga[TripPlanned]] | None = BookTrip) -> Service:
    """The service, with these people to end its trips."""

    def in_the_office() -> Clerks:
        return clerks

    return Service(
        "trips",
        contracts=contracts,
        handlers=[
            PlanTripHandler,
            CompleteTripHandler,
            FailTripHandler,
            PackHandler,
            UnpackHandler,
            CancelTripHandler,
        ],
        sagas=[saga] if saga is not None else [],
        providers=[in_the_office],
    )
