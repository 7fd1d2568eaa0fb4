"""Who of a fleet gets requests."""

from pathlib import Path

from colonnade.discovery import Address
from colonnade.system.hosts.fleet.instance import HOST, Instance
from colonnade.system.hosts.fleet.managed import Managed, State
from colonnade.system.hosts.fleet.reaching import can_be_spared, reachable
from colonnade.system.hosts.fleet.settings import GatewaySettings, ProcessSettings
from colonnade.world import real_world

WORLD = real_world()


def settings(port: int) -> ProcessSettings:
    """Of a process that is never started."""
    return GatewaySettings(host=HOST, port=port, registry=Path(), services=())


def instance(service: str | None, port: int, state: State) -> Managed:
    """One in a state."""
    runnable = Instance(f"{service}-{port}", settings, Path(), WORLD, service=service)
    runnable.address = Address(HOST, port)
    managed = Managed(f"{service}-{port}", runnable, WORLD, lambda _: None)
    managed.state = state
    return managed


def test_those_that_are_ready_get_requests() -> None:
    """Of the services, and no others."""
    running = [
        instance("baking", 1, State.READY),
        instance("baking", 2, State.STARTING),
        instance("baking", 3, State.STOPPING),
        instance("selling", 4, State.READY),
        instance(None, 5, State.READY),
    ]
    assert reachable(running) == {"baking": [Address(HOST, 1)], "selling": [Address(HOST, 4)]}


def test_one_that_is_silent_gets_none_while_another_is_ready() -> None:
    """But as the last of its service it does: it may only be slow; one that says it is not ready does not."""
    ready, late = instance("baking", 1, State.READY), instance("baking", 2, State.READY)
    late.found(ready=False, silent=True)
    assert reachable([ready, late]) == {"baking": [Address(HOST, 1)]}
    ready.state = State.STOPPING
    assert reachable([ready, late]) == {"baking": [Address(HOST, 2)]}
    late.found(ready=False)
    assert reachable([ready, late]) == {}


def test_one_can_be_spared_while_another_is_ready() -> None:
    """Of its own service; one that is alone has nobody to wait for."""
    first, second = instance("baking", 1, State.READY), instance("baking", 2, State.UNREADY)
    other = instance("selling", 3, State.READY)
    running = [first, second, other]
    assert can_be_spared(second, running)
    assert not can_be_spared(first, running)
    assert can_be_spared(other, running)
