"""Which broker the options of a fleet name."""

import re
from urllib.parse import urlsplit

import typer

from colonnade.system.hosts.fleet.settings import BrokerKind

__all__ = ["kafka_address", "named_broker", "rabbitmq_url"]

_KAFKA = re.compile(r"(\[[0-9a-fA-F:]+\]|[^\s,:/\[\]]+):\d{1,5}")
"""One server; clients take several, by commas."""


def named_broker(
    kind: BrokerKind | None, nats: str | None, rabbitmq: str | None, kafka: str | None
) -> tuple[BrokerKind, str | None]:
    """The kind of broker, and its address where one is given; raises `typer.BadParameter` for two of them."""
    addresses = {BrokerKind.NATS: nats, BrokerKind.RABBITMQ: rabbitmq, BrokerKind.KAFKA: kafka}
    given = {kind: address for kind, address in addresses.items() if address is not None}
    if len(given) > 1:
        raise typer.BadParameter(f"{' and '.join(f'--{each}' for each in given)} name two brokers; a fleet has one.")
    for named, address in given.items():
        if kind not in (None, named):
            raise typer.BadParameter(f"--{named} contradicts --broker {kind}; leave one of them out.")
        return named, address
    return kind or BrokerKind.NATS, None


def rabbitmq_url(text: str) -> str:
    """`text`, where it is an AMQP URL; raises `typer.BadParameter`."""
    parts = urlsplit(text)
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise typer.BadParameter(f"{text!r} is no URL of a RabbitMQ; give one such as amqp://user:password@host:5672/.")
    return text


def kafka_address(text: str) -> str:
    """`text`, where it names hosts and ports; raises `typer.BadParameter`."""
    if not all(_KAFKA.fullmatch(each) for each in text.split(",")):
        raise typer.BadParameter(f"{text!r} is no address of a Kafka; give HOST:PORT, several of them by commas.")
    return text
