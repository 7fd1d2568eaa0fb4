"""A registry in a file, that whoever starts the instances keeps and all processes of a machine read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from colonnade.discovery.registry import Address
from colonnade.world import Clock

__all__ = ["LOOK_SECONDS", "FileRegistry", "MalformedRegistry", "write_registry"]

LOOK_SECONDS = 0.1
"""How old an answer may be."""

_decode = msgspec.json.Decoder(dict[str, list[Address]]).decode


class MalformedRegistry(ValueError):
    """The file is not a registry."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} is not a registry of instances: {self.reason}; the host that starts them writes it."


class FileRegistry:
    """Reads the file again when it has changed. Where it is missing there are no instances."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._monotonic = clock.monotonic
        self._instances: Mapping[str, Sequence[Address]] = {}
        self._read = b""
        self._look_at = 0.0

    def instances(self, service: str) -> Sequence[Address]:
        """The instances of `service` that take requests; raises `MalformedRegistry`."""
        now = self._monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look()
        return self._instances.get(service, ())

    def _look(self) -> None:
        try:
            # Its times and number may be those of an older one: a file system's clock ticks slowly, numbers are reused
            read = self._path.read_bytes()
            if read != self._read:
                self._instances = _decode(read)
        except FileNotFoundError:
            self._instances, self._read = {}, b""
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise MalformedRegistry(self._path, str(error)) from error
        else:
            self._read = read


def write_registry(path: Path, instances: Mapping[str, Sequence[Address]]) -> None:
    """Say where the instances are, at once for whoever reads."""
    growing = path.with_name(f"{path.name}.new")
    growing.write_bytes(msgspec.json.encode(instances))
    growing.replace(path)
