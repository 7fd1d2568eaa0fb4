"""Where the instances of services are."""

from colonnade.discovery.registry import Address, Registry

__all__ = ["Address", "Registry"]
