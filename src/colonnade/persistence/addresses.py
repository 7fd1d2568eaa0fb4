"""Where messages go: the consumers of a service and the topics between services."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from colonnade.messages import Event, Message
from colonnade.persistence.unit import Deliver, Publish

__all__ = ["HANDLERS", "EventRoute", "Routes", "commands_of", "events_of", "replies_of"]

HANDLERS = "handlers"
"""The consumer of a service's inbox that hands commands to their handlers."""


def events_of(service: str) -> str:
    """The topic of a service's public events."""
    return f"{service}.events"


def commands_of(service: str) -> str:
    """The topic of commands to a service."""
    return f"{service}.commands"


def replies_of(service: str) -> str:
    """The topic of the outcomes of commands that a service's sagas sent."""
    return f"{service}.replies"


@dataclass(frozen=True, slots=True)
class EventRoute:
    """Who takes an event in: whether other services do, and which consumers of its own service."""

    published: bool
    consumers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Routes:
    """The ways of one service's outgoing messages, derived from the declarations of the whole system."""

    service: str
    events: Mapping[type[Event], EventRoute]
    handled_by: Mapping[type[Message], str]
    """The service that handles each command and query class of the system."""

    def command(self, kind: type[Message], key: str, id: UUID, envelope: bytes) -> Deliver | Publish:
        """The effect that sends a command of class `kind`."""
        target = self.handled_by[kind]
        if target == self.service:
            return Deliver(HANDLERS, key, envelope)
        return Publish(commands_of(target), key, id, envelope)

    def reply(self, to: str, consumer: str, key: str, id: UUID, envelope: bytes) -> Deliver | Publish:
        """The effect that sends the outcome of a command to the service `to`."""
        if to == self.service:
            return Deliver(consumer, key, envelope)
        return Publish(replies_of(to), key, id, envelope)
