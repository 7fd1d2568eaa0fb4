"""What a process of the fleet is told when it is started, in one variable of its environment."""

from enum import StrEnum
from pathlib import Path

import msgspec

from colonnade.security.tenants import Tenant

__all__ = [
    "VARIABLE",
    "BrokerKind",
    "BrokerSettings",
    "GatewaySettings",
    "ProcessSettings",
    "ServiceSettings",
    "read_settings",
    "written",
]

VARIABLE = "COLONNADE_PROCESS"
"""In the environment, where others of the machine do not see the addresses' passwords."""


class BrokerKind(StrEnum):
    """The brokers that services of a fleet can have between them."""

    NATS = "nats"
    RABBITMQ = "rabbitmq"
    KAFKA = "kafka"


class BrokerSettings(msgspec.Struct, frozen=True):
    """Which broker, and where."""

    kind: BrokerKind
    url: str


class _Common(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    port: int
    registry: Path
    tenants: tuple[Tenant, ...] = ()


class ServiceSettings(_Common, frozen=True, kw_only=True, tag="service"):
    """One instance of a service."""

    target: str
    """The system, as `module:attribute`."""
    service: str
    owner: str
    """The name of the instance, under which it holds leases."""
    former: str | None = None
    """Who was in its place before, and has ended."""
    data: Path
    store: str
    replica: str | None = None
    """The store's database on a streaming standby, for queries."""
    direct: str | None = None
    """Where the store is for who listens, when `store` is behind a pooler."""
    broker: BrokerSettings
    cache: str
    purge: tuple[str, ...] = ()


class GatewaySettings(_Common, frozen=True, kw_only=True, tag="gateway"):
    """The gateway, which needs nothing of the system's code."""

    services: tuple[str, ...]


ProcessSettings = ServiceSettings | GatewaySettings


def read_settings(text: str) -> ProcessSettings:
    """The settings in `text`; raises `msgspec.ValidationError`."""
    settings: ProcessSettings = msgspec.json.decode(text, type=ProcessSettings, dec_hook=_path)
    return settings


def written(settings: ProcessSettings) -> str:
    """The settings as text."""
    return msgspec.json.encode(settings, enc_hook=str).decode()


def _path(kind: type[Path], text: str) -> Path:
    return kind(text)
