"""A process of the fleet, as the fleet's host starts it: `python -m colonnade.cli.process`."""

import asyncio
import os
import sys

import msgspec
import typer
import uvloop

from colonnade.brokers.broker import BrokerUnavailable
from colonnade.cli.failure import fail, told
from colonnade.cli.target import load_system
from colonnade.observability.logs import InvalidLogSetting, log_to_standard_error
from colonnade.persistence.failures import StoreFailed
from colonnade.system import InvalidSystem, Mistake
from colonnade.system.hosts.fleet.settings import VARIABLE, GatewaySettings, read_settings
from colonnade.system.hosts.listening import AddressUnusable
from colonnade.world import real_world

__all__ = ["main"]


def main() -> None:
    """Run the process that the environment describes."""
    world = real_world()
    try:
        settings = read_settings(os.environ.pop(VARIABLE))
    except (KeyError, msgspec.MsgspecError) as error:
        fail(f"{VARIABLE} does not describe a process of a fleet ({error}); start one with colonnade up --fleet.")
    with told(InvalidLogSetting, InvalidSystem, Mistake, AddressUnusable, BrokerUnavailable, StoreFailed):
        log_to_standard_error(os.environ, world.clock)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if isinstance(settings, GatewaySettings):
                from colonnade.system.hosts.fleet.gateway import run_gateway

                runner.run(run_gateway(settings, world))
                return
            # A gateway begins sooner without it
            from colonnade.system.hosts.fleet.process import run_service

            runner.run(run_service(load_system(settings.target), settings, world))


if __name__ == "__main__":
    try:
        main()
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
