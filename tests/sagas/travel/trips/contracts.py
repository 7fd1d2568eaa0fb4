"""What other services may know of trips."""

from uuid import UUID

from colonnade.messages import Event

__all__ = ["TripPlanned"]


class TripPlanned(Event):
    """Somebody wants to travel: `legs` are the seats of each stage; those ending in ! cannot be given back."""

    trip_id: UUID
    legs: tuple[tuple[str, ...], ...]
    seconds: float
