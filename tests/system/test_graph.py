"""What a system's check promises to inject is what a running service gets."""

from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

from colonnade.messages import Command
from colonnade.system import Service, System
from colonnade.system.graph import PORTS
from colonnade.testing import running_system


class Look(Command):
    """Look at what was injected."""


async def test_every_port_that_the_check_knows_is_there_at_run_time(tmp_path: Path) -> None:
    """A handler that wants all of them is found sound, is built, and has an object in each place."""
    seen: list[object] = []

    class Everything(make_dataclass("Everything", [(f"port_{place}", port) for place, port in enumerate(PORTS)])):  # type: ignore[misc]
        async def __call__(self, command: Look) -> None:
            seen.extend(vars(self).values())

    handler: Any = Everything
    async with running_system(System("shop", [Service("desk", handlers=[handler])]), tmp_path) as system:
        await system.execute(Look())
    assert len(seen) == len(PORTS)
    assert None not in seen
