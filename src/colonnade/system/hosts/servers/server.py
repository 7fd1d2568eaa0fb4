"""What every server has in common: a port, a process, and an answer that tells that it is ready."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from colonnade.system.hosts.servers.child import Child, ServerFailed
from colonnade.system.hosts.servers.ports import is_taken
from colonnade.world import World

__all__ = ["HOST", "START_SECONDS", "Server", "running"]

HOST = "127.0.0.1"
"""All servers listen on the loopback only."""

START_SECONDS = 60.0
"""So long may a server take until it answers."""

_HOLD_SECONDS = 3.0
"""So long may a server's port be held by what it had started, or by one whose starter was killed just now."""

_LOOK_SECONDS = 0.02
_ANSWER_SECONDS = 5.0


class Server(ABC):
    """One server on a port of the loopback: `start`, `stop` and `kill` in any order; its data stays in its folder."""

    def __init__(self, child: Child, port: int, world: World) -> None:
        self.host = HOST
        self.port = port
        self.child = child
        self._world = world

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self.child.is_running

    async def start(self) -> None:
        """Start it, on a new folder or on what it left; it answers when this returns. Raises `ServerFailed`."""
        if self.is_running:
            return
        await self._until_port_is_free()
        await self.prepare()
        await self.child.start()
        try:
            await self._until_ready()
        except BaseException:
            await self.child.kill()  # neither a failure nor a cancelled start leaves a process behind
            raise

    async def stop(self) -> None:
        """Let it finish in order."""
        await self.child.stop()

    async def kill(self) -> None:
        """End it as a power cut would end it (`kill -9`)."""
        await self.child.kill()

    async def wait(self) -> int:
        """Return when its process has ended, with its exit code; negative is the number of a signal."""
        return await self.child.wait()

    async def prepare(self) -> None:
        """Make what its process needs to start; once made, it is left as it is."""
        return

    @abstractmethod
    async def answers(self) -> bool:
        """Whether this very server, not another one on its port, is ready; may raise `OSError` while it is not."""

    async def _until_port_is_free(self) -> None:
        deadline = self._world.clock.monotonic() + _HOLD_SECONDS
        while is_taken(self.port):
            if self._world.clock.monotonic() >= deadline:
                raise ServerFailed(
                    self.child.name, f"port {self.port} is taken by another program: give it another port"
                )
            await self._world.sleep(_LOOK_SECONDS)

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._answers_now():
                    if not self.child.is_running:
                        raise self.child.failed(f"it ended before it was ready, with {self.child.ending}")
                    await self._world.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise self.child.failed(f"it was not ready within {START_SECONDS:.0f} s") from None

    async def _answers_now(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self.answers()
        except (OSError, EOFError, ValueError):  # refused, silent, cut off, or somebody else speaks
            return False


S = TypeVar("S", bound=Server)


@asynccontextmanager
async def running(server: S) -> AsyncIterator[S]:
    """`server`, as long as the block lasts."""
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
