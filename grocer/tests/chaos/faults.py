"""What goes wrong, by chance: kills, cut and hanging connections, instances that come and go, clocks that jump."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from grocer.tests.chaos.fleet import Fleet

JUMP_SECONDS = 3_600.0
"""A clock is put wrong by up to so much, ahead or back."""

WRONG_SECONDS = (4.0, 12.0)
CUT_SECONDS = (0.1, 2.5)
MOST_INSTANCES = 3


@dataclass
class Faults:
    """Makes faults in `fleet`, one after the other, and counts them by kind."""

    fleet: Fleet
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)
    _mending: set[asyncio.Task[None]] = field(default_factory=set)
    _instances: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._instances = dict(self.fleet.instances)

    async def one(self) -> None:
        """Make one fault, of a kind drawn by weight."""
        kinds = self._kinds()
        make = self.chance.choices([make for make, _ in kinds.values()], [weight for _, weight in kinds.values()])[0]
        told = await make()
        if told is not None:
            self.done[told.partition(" ")[0]] += 1
            self.log.append(told)

    async def mended(self) -> None:
        """Wait until what was broken for a while is whole again."""
        while self._mending:
            await asyncio.wait(self._mending)

    def _kinds(self) -> Mapping[str, tuple[Callable[[], Awaitable[str | None]], int]]:
        # Starting an interpreter takes two seconds of a core: kills of instances are rarer than of connections
        return {
            "cut": (self._cut, 40),
            "hang": (self._hang, 10),
            "kill": (self._kill_instance, 18),
            "nats": (lambda: self._kill_server("nats"), 8),
            "valkey": (lambda: self._kill_server("valkey"), 8),
            "postgresql": (lambda: self._kill_server("postgresql"), 6),
            "clock": (self._jump, 8),
            "scale": (self._scale, 5),
        }

    async def _cut(self) -> str:
        name = self.chance.choice(list(self.fleet.servers))
        seconds = self.chance.uniform(*CUT_SECONDS)
        way = self.fleet.servers[name].way
        way.cut()
        self._later(seconds, way.mend)
        return f"cut {name} for {seconds:.1f} s"

    async def _hang(self) -> str:
        name = self.chance.choice(list(self.fleet.servers))
        seconds = self.chance.uniform(*CUT_SECONDS)
        way = self.fleet.servers[name].way
        way.hang()
        self._later(seconds, way.mend)
        return f"hang {name} for {seconds:.1f} s"

    async def _kill_server(self, name: str) -> str | None:
        return f"kill {name}" if self.fleet.servers[name].kill() else None

    async def _kill_instance(self) -> str | None:
        names = [*self.fleet.service_names(), "gateway"]
        name = self.chance.choice(names)
        pid = self.fleet.pids.get(name)
        if pid is None:
            return None
        with suppress(ProcessLookupError):  # it has ended meanwhile, which is a fault too
            os.kill(pid, signal.SIGKILL)
        return f"kill {name}"

    async def _jump(self) -> str | None:
        names = self.fleet.service_names()
        if not names:
            return None
        name = self.chance.choice(list(names))
        file = self.fleet.clocks / str(self.fleet.pids[name])
        seconds = self.chance.uniform(-JUMP_SECONDS, JUMP_SECONDS)
        file.write_text(f"{seconds}")
        self._later(self.chance.uniform(*WRONG_SECONDS), lambda: file.unlink(missing_ok=True))
        return f"jump of the clock of {name} by {seconds:+.0f} s"

    async def _scale(self) -> str:
        service = self.chance.choice(list(self._instances))
        number = self.chance.choice([n for n in range(1, MOST_INSTANCES + 1) if n != self._instances[service]])
        await self.fleet.command("scale", f"{service}={number}")
        self._instances[service] = number
        return f"scale {service} to {number}"

    def _later(self, seconds: float, mend: Callable[[], None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            mend()

        task = asyncio.get_running_loop().create_task(wait())
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)
