"""The registry's port: which instances of a service take requests now."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

__all__ = ["Address", "Registry"]


class Address(msgspec.Struct, frozen=True, gc=False):
    """Where one instance listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Registry(Protocol):
    """Tells where services are; the answer may be a moment old."""

    def instances(self, service: str) -> Sequence[Address]:
        """The instances of `service` that take requests; none for one that is down or unknown.

        What was given is never changed: other instances are another object.
        """
