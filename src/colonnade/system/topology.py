"""A system as a whole: what each service declares, who handles what, and which way messages go."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from colonnade.messages import Command, Event, Message, Query
from colonnade.messages.names import DuplicateName, MessageNames
from colonnade.persistence.addresses import EventRoute, Routes
from colonnade.persistence.migrations.line import InvalidMigration, Line
from colonnade.presentation import Get
from colonnade.system.declarations import Declarations
from colonnade.system.errors import InvalidSystem, Mistake
from colonnade.system.service import System
from colonnade.system.wiring import read_declarations
from colonnade.workers.sagas.history import (
    Compensating,
    SagaEnded,
    SagaStarted,
    StepAnswered,
    StepAsked,
    StepSkipped,
)
from colonnade.workers.sagas.messages import consumer_of

__all__ = ["Topology", "subscriber_name", "topology_of"]

OWN = "colonnade"
"""Stands before the stored names of Colonnade's own messages, as a service's name before those of its own."""

_NAME = re.compile("[a-z][a-z0-9_-]*")

_OF_SAGAS = (SagaStarted, StepAsked, StepAnswered, StepSkipped, Compensating, SagaEnded)


@dataclass(frozen=True, slots=True)
class Topology:
    """What follows from the declarations of all services together."""

    system: System
    names: MessageNames
    declared: Mapping[str, Declarations]
    handled_by: Mapping[type[Message], str]
    owners: Mapping[type[Message], str]
    """The service of each event class."""
    lines: Mapping[str, Line]
    """The migrations of each service's own tables."""

    def routes(self, service: str) -> Routes:
        """The ways of one service's outgoing messages."""
        events = {}
        for event, owner in self.owners.items():
            if owner != service or not issubclass(event, Event):
                continue
            takers = [name for name in self.declared if name != service and self.consumers(name, event)]
            consumers = self.consumers(service, event)
            if takers or consumers:
                events[event] = EventRoute(bool(takers), tuple(consumers))
        return Routes(service, events, self.handled_by)

    def consumers(self, service: str, event: type[Message]) -> Sequence[str]:
        """The sagas and subscribers of `service` that take `event`."""
        declared = self.declared[service]
        sagas = [consumer_of(saga.kind.__name__) for saga in declared.sagas if event in saga.events]
        return [*sagas, *(subscriber_name(each.kind) for each in declared.subscribers if event in each.events)]

    def interested(self, service: str) -> Mapping[str, Sequence[str]]:
        """Which consumers of `service` take each event of other services, by stored name."""
        return {
            self.names.name_of(event): consumers
            for event, owner in self.owners.items()
            if owner != service and (consumers := self.consumers(service, event))
        }

    def caches(self, services: Collection[str]) -> bool:
        """Whether any of `services` keeps answers of its queries."""
        apis = [service.api for service in self.system.services if service.api is not None and service.name in services]
        return any(isinstance(each, Get) and each.cache is not None for api in apis for each in api.endpoints)

    def topics(self, service: str) -> Sequence[str]:
        """The topics that `service` listens to."""
        heard = {
            f"{owner}.events"
            for event, owner in self.owners.items()
            if owner != service and self.consumers(service, event)
        }
        return [f"{service}.commands", f"{service}.replies", *sorted(heard)]


def subscriber_name(kind: type[object]) -> str:
    """The consumer of a service's inbox that is this subscriber."""
    return f"subscriber:{kind.__name__}"


def topology_of(system: System) -> Topology:
    """Read and check a whole system; raises `InvalidSystem` with all that is wrong."""
    mistakes: list[Mistake] = []
    names = MessageNames()
    names.bind(OWN, _OF_SAGAS, {})
    declared: dict[str, Declarations] = {}
    handled_by: dict[type[Message], str] = {}
    owners: dict[type[Message], str] = {}
    lines: dict[str, Line] = {}
    for service in system.services:
        place = f"the service {service.name}"
        mistakes.extend(_misnamed(service.name))
        if service.name in declared:
            mistakes.append(Mistake(place, "is declared twice", "give each service its own name"))
            continue
        declarations, wrong = read_declarations(service)
        mistakes.extend(wrong)
        mistakes.extend(_twice(place, declarations))
        declared[service.name] = declarations
        try:
            lines[service.name] = service.line()
        except InvalidMigration as invalid:
            mistakes.append(Mistake(f"{place}, {invalid.place}", invalid.reason, invalid.remedy))
        messages = dict.fromkeys(declarations.contracts)
        for handler in declarations.handlers:
            if (other := handled_by.setdefault(handler.message, service.name)) != service.name or (
                sum(each.message is handler.message for each in declarations.handlers) > 1
            ):
                mistakes.append(
                    Mistake(
                        f"{place}, {handler.kind.__name__}",
                        f"{handler.message.__name__} is handled in {other} already",
                        "leave one handler for it",
                    )
                )
            messages[handler.message] = None
        for events in declarations.aggregate_events.values():
            messages.update(dict.fromkeys(events))
        for message in messages:
            if issubclass(message, Event):
                owners[message] = service.name
        try:
            names.bind(service.name, messages, service.names)
        except DuplicateName as error:
            mistakes.append(Mistake(place, error.reason, error.remedy))
        if service.api is not None:
            here = {handler.message for handler in declarations.handlers}
            mistakes.extend(
                Mistake(
                    f"{place}, {endpoint.method} {endpoint.path}",
                    f"{endpoint.message.__name__} has no handler here",
                    "add its handler to the service",
                )
                for endpoint in service.api.endpoints
                if endpoint.message not in here
            )
    mistakes.extend(_unhandled(declared, handled_by))
    mistakes.extend(_foreign(declared, owners))
    if mistakes:
        raise InvalidSystem(system.name, mistakes)
    return Topology(system, names, declared, handled_by, owners, lines)


def _misnamed(service: str) -> Sequence[Mistake]:
    if not _NAME.fullmatch(service):
        return [
            Mistake(
                f"the service {service!r}",
                "its name cannot stand in addresses and file names",
                "begin with a lower-case letter, and go on with those, digits, - and _",
            )
        ]
    if service == OWN:
        return [Mistake(f"the service {service}", "its name is that of Colonnade's own messages", "give it another")]
    return ()


def _twice(place: str, declarations: Declarations) -> Sequence[Mistake]:
    """What would be stored under one name, each with what that name is for."""
    named: Sequence[tuple[str, str, Sequence[type[object]]]] = [
        ("aggregates", "streams are", [kind.type for kind in declarations.aggregates]),
        ("projections", "rows are", [each.kind for each in declarations.projections]),
        ("sagas", "instances are", [each.kind for each in declarations.sagas]),
        ("subscribers", "messages are", [each.kind for each in declarations.subscribers]),
    ]
    return [
        Mistake(place, f"two {kinds} are called {name}", f"rename one, its {what} stored under that name")
        for kinds, what, declared in named
        for name, times in Counter(each.__name__ for each in declared).items()
        if times > 1
    ]


def _unhandled(declared: Mapping[str, Declarations], handled_by: Mapping[type[Message], str]) -> Sequence[Mistake]:
    return [
        Mistake(
            f"the service {service}",
            f"{message.__name__} is in its contracts, and nobody handles it",
            "add its handler, or take it out",
        )
        for service, declarations in declared.items()
        for message in declarations.contracts
        if issubclass(message, Command | Query) and message not in handled_by
    ]


def _foreign(declared: Mapping[str, Declarations], owners: Mapping[type[Message], str]) -> Sequence[Mistake]:
    mistakes = []
    for service, declarations in declared.items():
        for reaction in (*declarations.sagas, *declarations.projections, *declarations.subscribers):
            own = reaction not in declarations.subscribers
            for event in reaction.events:
                owner = owners.get(event)
                place = f"the service {service}, {reaction.kind.__name__}"
                if owner is None:
                    mistakes.append(
                        Mistake(place, f"{event.__name__} is recorded by no aggregate", "declare it in one's base")
                    )
                elif owner != service and own:
                    mistakes.append(
                        Mistake(place, f"{event.__name__} is an event of {owner}", "record an event of its own first")
                    )
                elif owner != service and event not in declared[owner].contracts:
                    mistakes.append(
                        Mistake(place, f"{event.__name__} never leaves {owner}", f"put it into {owner}'s contracts")
                    )
    return mistakes
