"""What the declarations of a service say, read once when a system is built, as plain data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from colonnade.application import Subscriber
from colonnade.application.projection import Projection
from colonnade.application.saga import Saga
from colonnade.messages import Event, Message
from colonnade.persistence.kinds import AggregateKind

__all__ = ["DeclaredHandler", "DeclaredReaction", "Declarations"]


@dataclass(frozen=True, slots=True)
class DeclaredHandler:
    """A handler class and the one message class that it handles."""

    kind: type[Any]
    message: type[Message]


@dataclass(frozen=True, slots=True)
class DeclaredReaction:
    """A saga, projection or subscriber and the event classes that it takes."""

    kind: type[Saga[Any]] | type[Projection[Any]] | type[Subscriber[Any]]
    events: tuple[type[Event], ...]


@dataclass(frozen=True, slots=True)
class Declarations:
    """All that one service declares, its annotations resolved."""

    service: str
    contracts: tuple[type[Message], ...]
    handlers: Sequence[DeclaredHandler]
    sagas: Sequence[DeclaredReaction]
    projections: Sequence[DeclaredReaction]
    subscribers: Sequence[DeclaredReaction]
    aggregates: Sequence[AggregateKind[Any]]
    aggregate_events: Mapping[type[Any], tuple[type[Event], ...]]
    providers: Sequence[Callable[..., Any]]
