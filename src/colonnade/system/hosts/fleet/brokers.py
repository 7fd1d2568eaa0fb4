"""The brokers that a fleet can run on: of each its driver, its server and how a process connects."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from colonnade.brokers.broker import Broker
from colonnade.system.hosts.fleet.managed import Runnable
from colonnade.system.hosts.fleet.settings import BrokerKind, BrokerSettings
from colonnade.system.hosts.servers.installed import NotInstalled
from colonnade.system.hosts.servers.ports import free_port
from colonnade.world import World

__all__ = ["BrokerServer", "broker_server", "connect_to_broker", "require_driver"]

_DRIVERS: Mapping[BrokerKind, str] = {
    BrokerKind.NATS: "nats",
    BrokerKind.RABBITMQ: "aio_pika",
    BrokerKind.KAFKA: "aiokafka",
}


class BrokerServer(Runnable, Protocol):
    """A broker's server on this machine."""

    @property
    def url(self) -> str:
        """Where clients connect."""


def require_driver(kind: BrokerKind) -> None:
    """Raises `NotInstalled` where processes could not connect to such a broker."""
    if find_spec(_DRIVERS[kind]) is None:
        raise NotInstalled(kind, f"{_DRIVERS[kind]} is not installed", f"pip install 'colonnade[{kind}]'")


def broker_server(kind: BrokerKind, folder: Path, world: World) -> BrokerServer:
    """A server that is not started yet, its data in a folder of its own in `folder`; raises `ServerFailed`."""
    match kind:
        case BrokerKind.NATS:
            from colonnade.system.hosts.servers.nats import SYNC_INTERVAL, NatsServer

            return NatsServer(folder / kind, world, port=free_port(), sync_interval=SYNC_INTERVAL)
        case BrokerKind.RABBITMQ:
            from colonnade.system.hosts.servers.rabbitmq import RabbitMqServer

            return RabbitMqServer(folder / kind, world, port=free_port())
        case BrokerKind.KAFKA:
            from colonnade.system.hosts.servers.kafka import KafkaServer

            return KafkaServer(folder / kind, world, port=free_port())


async def connect_to_broker(settings: BrokerSettings, system: str, world: World) -> Broker:
    """A connection of one process; what it names there begins with `system`. Raises `BrokerUnavailable`."""
    match settings.kind:
        case BrokerKind.NATS:
            from colonnade.brokers.nats import connect_to_nats

            return await connect_to_nats(settings.url, world, prefix=system)
        case BrokerKind.RABBITMQ:
            from colonnade.brokers.rabbitmq import connect_to_rabbitmq

            return await connect_to_rabbitmq(settings.url, prefix=system)
        case BrokerKind.KAFKA:
            from colonnade.brokers.kafka import connect_to_kafka

            return await connect_to_kafka(settings.url, prefix=system)
