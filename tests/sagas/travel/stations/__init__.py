"""The stations: seats are booked and given back, some of them only later."""

from dataclasses import dataclass
from uuid import UUID

from colonnade.application import Deferred, Replies, Repository
from colonnade.domain import Aggregate, Conflict
from colonnade.messages import Command, Event
from colonnade.system import Service
from tests.sagas.travel.clerks import Clerks
from tests.sagas.travel.stations import contracts
from tests.sagas.travel.stations.contracts import Book, Unbook

__all__ = ["Confirm", "stations"]


class Full(Conflict):
    """There is no such seat any more."""

    seat: str


class Booked(Event):
    """A seat is taken."""

    seat: str


class Unbooked(Event):
    """A seat is free again."""

    seat: str


class Seats(Aggregate[Booked | Unbooked]):
    """The seats of one trip."""

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.taken: list[str] = []

    def book(self, seat: str) -> None:
        """Take a seat."""
        self.record(Booked(seat))

    def unbook(self, seat: str) -> None:
        """Give it back; one that is not taken may be on its way."""
        self.record(Unbooked(seat))

    def apply(self, event: Booked | Unbooked) -> None:
        """Follow what happened."""
        if isinstance(event, Booked):
            self.taken.append(event.seat)
        elif event.seat in self.taken:
            self.taken.remove(event.seat)


class Confirm(Command):
    """What became of a booking that was left open."""

    trip_id: UUID
    seat: str
    booked: bool


def _number(trip_id: UUID, seat: str) -> str:
    """Under which number an open booking is settled: a seat and one with a star behind it have one between them."""
    return f"{trip_id}/{seat.rstrip('*')}"


async def _seats(repository: Repository[Seats], trip_id: UUID) -> Seats:
    seats = await repository.find(trip_id)
    if seats is None:
        seats = Seats(trip_id)
        repository.add(seats)
    return seats


@dataclass(frozen=True)
class BookHandler:
    """Books."""

    seats: Repository[Seats]
    clerks: Clerks

    async def __call__(self, command: Book) -> Deferred | None:
        """Book, or leave it open."""
        doing = await self.clerks.decide(f"book {command.seat}")
        if doing == "refuse":
            raise Full(command.seat)
        if doing == "defer":
            return Deferred(_number(command.trip_id, command.seat))
        (await _seats(self.seats, command.trip_id)).book(command.seat)
        return None


@dataclass(frozen=True)
class UnbookHandler:
    """Gives back."""

    seats: Repository[Seats]
    clerks: Clerks

    async def __call__(self, command: Unbook) -> Deferred | None:
        """Give back, or leave it open."""
        doing = await self.clerks.decide(f"unbook {command.seat}")
        if doing == "refuse":
            raise Full(command.seat)
        if doing == "defer":
            return Deferred(_number(command.trip_id, command.seat))
        (await _seats(self.seats, command.trip_id)).unbook(command.seat)
        return None


@dataclass(frozen=True)
class ConfirmHandler:
    """Settles what was left open."""

    seats: Repository[Seats]
    replies: Replies

    async def __call__(self, command: Confirm) -> None:
        """Book or not, and tell."""
        if command.booked:
            (await _seats(self.seats, command.trip_id)).book(command.seat)
        key = _number(command.trip_id, command.seat)
        await self.replies.settle(key, None if command.booked else Full(command.seat))


def stations(clerks: Clerks) -> Service:
    """The service, with these people behind its counters."""

    def at_the_counter() -> Clerks:
        return clerks

    return Service(
        "stations",
        contracts=contracts,
        handlers=[BookHandler, UnbookHandler, ConfirmHandler],
        providers=[at_the_counter],
    )
