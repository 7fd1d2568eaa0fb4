"""A Varnish of Debian's package, with the configuration that we ship: it stands in for a CDN."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from colonnade.system.hosts.servers.child import Child
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.server import HOST, Server, running
from colonnade.world import World
from tests.servers.debian import installed

__all__ = ["VarnishServer", "varnish"]

_CONFIGURATION = Path(__file__).parents[2] / "deploy" / "varnish.vcl"


class VarnishServer(Server):
    """One cache in memory, empty after each start, before what answers on the port `behind` of the loopback."""

    def __init__(self, folder: Path, world: World, behind: int, *, port: int) -> None:
        self._folder = folder.resolve()
        self._work = self._folder / "work"
        self._behind = behind
        self._configuration = self._folder / "varnish.vcl"
        command = [
            str(installed("varnishd", "varnish")), "-F", "-j", "none", "-n", str(self._work),
            "-f", str(self._configuration), "-a", f"{HOST}:{port}", "-T", "none", "-s", "malloc,32m",
            "-p", "thread_pool_min=5", "-p", "thread_pools=1",
        ]  # fmt: skip
        environment = {"VARNISH_DEFAULT_N": str(self._work)}
        super().__init__(Child("Varnish", command, self._folder / "varnish.log", environment), port, world)

    @property
    def url(self) -> str:
        """Where clients ask, and where `PURGE` is sent."""
        return f"http://{self.host}:{self.port}"

    async def prepare(self) -> None:
        """Write the configuration, for what it stands before."""
        self._work.mkdir(parents=True, exist_ok=True)
        ours = _CONFIGURATION.read_text()
        theirs = ours.replace('.port = "8000"', f'.port = "{self._behind}"')
        assert theirs != ours
        self._configuration.write_text(theirs)

    async def answers(self) -> bool:
        """It refuses to purge nothing, which it does once its configuration is compiled."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(b"PURGE / HTTP/1.1\r\nHost: varnish\r\nConnection: close\r\n\r\n")
            return (await reader.readline()).startswith(b"HTTP/1.1 400")
        finally:
            writer.close()


@asynccontextmanager
async def varnish(folder: Path, world: World, behind: int, *, port: int | None = None) -> AsyncIterator[VarnishServer]:
    """A Varnish, as long as the block lasts; skips the test where it is not installed."""
    server = VarnishServer(folder, world, behind, port=port or free_port())
    async with running(server):
        yield server
