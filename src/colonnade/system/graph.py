"""The graph of a system's objects, checked without making any of them."""

from collections.abc import Sequence
from typing import Any

from colonnade.application import Ids, Mediator, Outbox, Replies, Sagas
from colonnade.persistence import DataDirectory, Reads, Tables
from colonnade.system.container import make_container, repository_of
from colonnade.system.errors import Mistake
from colonnade.system.service import Service
from colonnade.system.topology import Topology
from colonnade.world import Clock, Randomness, Sleep, World

__all__ = ["PORTS", "graph_mistakes", "package_of"]

PORTS: Sequence[Any] = (
    World, Clock, Randomness, Ids, Sleep, DataDirectory, Mediator, Outbox, Replies, Sagas, Reads, Tables,
)  # fmt: skip
"""The annotations that every service can have an object injected for, beside its aggregates' repositories."""


def package_of(service: Service) -> str:
    """The Python package that holds a service's code: that of its contracts, or above its handlers' layer."""
    if service.contracts is not None:
        return service.contracts.__name__.rpartition(".")[0] or service.contracts.__name__
    handlers = service.handlers
    return handlers[0].__module__.rpartition(".")[0].rpartition(".")[0] if handlers else service.name


def graph_mistakes(topology: Topology) -> list[Mistake]:
    """A mistake for each service with a parameter that nothing provides."""
    mistakes = []
    for declared in topology.declared.values():
        ports: dict[Any, object] = dict.fromkeys(PORTS)
        for kind in declared.aggregates:
            ports[repository_of(kind)] = None
        try:
            make_container(declared, ports)
        except Mistake as mistake:
            mistakes.append(mistake)
    return mistakes
