"""Which instances of a fleet get requests, and which of them can be spared."""

from collections.abc import Iterator, Mapping, Sequence

from colonnade.discovery import Address
from colonnade.system.hosts.fleet.instance import Instance
from colonnade.system.hosts.fleet.managed import Managed, State

__all__ = ["can_be_spared", "reachable"]


def reachable(running: Sequence[Managed]) -> Mapping[str, Sequence[Address]]:
    """Where requests to each service go: to its ready instances.

    Where there is none, to those that only did not say in time how they are: on a machine that has too much to do these
    are slow, and a slow answer is better than none.
    """
    ready: dict[str, list[Address]] = {}
    silent: dict[str, list[Address]] = {}
    for managed, service, address in _instances(running):
        if managed.state is State.READY:
            ready.setdefault(service, []).append(address)
        elif managed.state is State.UNREADY and managed.silent:
            silent.setdefault(service, []).append(address)
    return {**silent, **ready}


def can_be_spared(managed: Managed, running: Sequence[Managed]) -> bool:
    """Whether another instance of its service answers while it is stopped, or there is no other at all."""
    mine = next(service for each, service, _ in _instances(running) if each is managed)
    others = [each for each, service, _ in _instances(running) if service == mine and each is not managed]
    return not others or any(each.state is State.READY for each in others)


def _instances(running: Sequence[Managed]) -> Iterator[tuple[Managed, str, Address]]:
    for managed in running:
        runnable = managed.runnable
        if isinstance(runnable, Instance) and runnable.service is not None:
            yield managed, runnable.service, runnable.address
