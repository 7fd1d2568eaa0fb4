"""What both versions of the box office answer."""

from colonnade.messages import Command, Query


class SellSeat(Command[None]):
    """Sell a seat."""

    number: int
    guest: str


class SeatsSold(Query[int]):
    """How many seats are sold."""


class GuestOf(Query[str]):
    """Who has a seat."""

    number: int
