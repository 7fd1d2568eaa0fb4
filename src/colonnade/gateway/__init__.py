"""The gateway: the one door to all services."""

from colonnade.gateway.embedded import EmbeddedGateway

__all__ = ["EmbeddedGateway"]
