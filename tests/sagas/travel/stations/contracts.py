"""What other services may ask of the stations."""

from uuid import UUID

from colonnade.messages import Command

__all__ = ["Book", "Unbook"]


class Book(Command):
    """Book a seat."""

    trip_id: UUID
    seat: str


class Unbook(Command):
    """Give a seat back."""

    trip_id: UUID
    seat: str
