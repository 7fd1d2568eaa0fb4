"""One process of the system as the fleet's host sees it: started with its settings, ready when its health says so."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from colonnade.discovery import Address
from colonnade.discovery.files import LOOK_SECONDS
from colonnade.presentation.upstream import Upstream, UpstreamFailed
from colonnade.system.hosts.fleet.settings import VARIABLE, ProcessSettings, written
from colonnade.system.hosts.servers.child import Child
from colonnade.system.hosts.servers.ports import free_port
from colonnade.world import World

__all__ = ["HOST", "Instance"]

HOST = "127.0.0.1"
_REACHED_AT = {"": HOST, "0.0.0.0": HOST, "::": "::1"}  # noqa: S104 - who listens everywhere is asked here

START_SECONDS = 120.0

START_SECONDS_A_TENANT = 10.0
"""Each tenant has stores that are made and opened when an instance starts."""

LEAVE_SECONDS = 10 * LOOK_SECONDS
"""After so long all who send requests have seen that an instance is not in the registry any more, even one that was
kept from working for most of that time: a request that it sends after the end is lost."""

_LOOK_SECONDS = 0.05
_ANSWER_SECONDS = 2.0


class Instance:
    """A process of a `service`, or of the gateway.

    Each start may have another port; `settings` makes the settings for it.
    """

    def __init__(
        self,
        name: str,
        settings: Callable[[int], ProcessSettings],
        log: Path,
        world: World,
        *,
        service: str | None = None,
        host: str = HOST,
        port: int | None = None,
    ) -> None:
        self.service = service
        self._settings = settings
        self._world = world
        self._host = _REACHED_AT.get(host, host)
        self._port = port
        path = os.pathsep.join(dict.fromkeys([str(Path.cwd()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
        command = [sys.executable, "-m", "colonnade.cli.process"]
        self._environment = {"PYTHONPATH": path.strip(os.pathsep)}
        self.child = Child(name, command, log, self._environment)
        self.address = Address(self._host, 0)

    async def start(self) -> None:
        """Start it, and return when it has begun to serve; raises `ServerFailed`."""
        port = self._port or free_port()
        self.address = Address(self._host, port)
        settings = self._settings(port)
        self._environment[VARIABLE] = written(settings)
        seconds = START_SECONDS + START_SECONDS_A_TENANT * len(settings.tenants)
        await self.child.start()
        upstream = Upstream(self.child.name, self.address)
        try:
            async with asyncio.timeout(seconds):
                while await self._asked(upstream, "startup") != 200:
                    if not self.child.is_running:
                        raise self.child.failed(f"it ended before it was ready, with {self.child.ending}")
                    await self._world.sleep(_LOOK_SECONDS)
        except TimeoutError:
            await self.child.kill()
            raise self.child.failed(f"it was not ready within {seconds:.0f} s") from None
        except BaseException:
            await self.child.kill()
            raise
        finally:
            upstream.close()

    async def stop(self) -> None:
        """Stop it in order, once nobody sends it requests any more."""
        if self.service is not None and self.child.is_running:
            await self._world.sleep(LEAVE_SECONDS)
        await self.child.stop()

    async def probe(self, name: str) -> int | None:
        """The status with which it answers a probe of its health; None when it does not."""
        upstream = Upstream(self.child.name, self.address)
        try:
            return await self._asked(upstream, name)
        finally:
            upstream.close()

    async def _asked(self, upstream: Upstream, probe: str) -> int | None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await upstream.request("GET", f"/health/{probe}".encode(), (), repeatable=True)
        except (UpstreamFailed, TimeoutError):
            return None
        return answer.status
