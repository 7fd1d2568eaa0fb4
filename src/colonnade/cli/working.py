"""What a process of the fleet does: it serves one service, or is the gateway."""

import asyncio
import os
import sys
from importlib import import_module

import msgspec
import uvloop

from colonnade.brokers.broker import BrokerUnavailable
from colonnade.cli.optional import as_if_missing
from colonnade.observability.logs import InvalidLogSetting, log_to_standard_error
from colonnade.persistence.failures import StoreFailed
from colonnade.system.errors import InvalidSystem, Mistake
from colonnade.system.hosts.fleet.settings import (
    VARIABLE,
    BrokerKind,
    BrokerSettings,
    GatewaySettings,
    read_settings,
)
from colonnade.system.hosts.listening import AddressUnusable
from colonnade.world import real_world

__all__ = ["work"]


def work() -> None:
    """Do it until a signal says to stop; what is wrong with the settings or the system ends it with status 1."""
    world = real_world()
    try:
        settings = read_settings(os.environ.pop(VARIABLE))
    except (KeyError, msgspec.MsgspecError) as error:
        sys.exit(f"{VARIABLE} does not describe a process of a fleet ({error}); start one with colonnade up --fleet.")
    try:
        log_to_standard_error(os.environ, world.clock)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if isinstance(settings, GatewaySettings):
                from colonnade.system.hosts.fleet.gateway import run_gateway

                runner.run(run_gateway(settings, world))
                return
            # A gateway begins sooner without these
            from colonnade.cli.loading import BrokenCode, NoSuchSystem, load_system
            from colonnade.system.hosts.fleet.process import run_service

            try:
                system = load_system(settings.target)
            except (BrokenCode, NoSuchSystem) as error:
                sys.exit(str(error))
            _import_driver(settings.broker)
            runner.run(run_service(system, settings, world))
    except (InvalidLogSetting, InvalidSystem, Mistake, AddressUnusable, BrokerUnavailable, StoreFailed) as error:
        sys.exit(str(error))


def _import_driver(broker: BrokerSettings) -> None:
    # For WebSockets nats-py imports an HTTP client where it finds one, which was a tenth of the time to begin
    if broker.kind is BrokerKind.NATS and not broker.url.startswith("ws"):
        with as_if_missing("aiohttp"):
            import_module("nats.aio.client")
