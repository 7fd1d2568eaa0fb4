"""Varnish from Debian's package, with the configuration that we ship: it stands in for a CDN."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from colonnade.system.hosts.servers.child import Child
from colonnade.system.hosts.servers.server import HOST, Server, running
from colonnade.world import World
from tests.servers.debian import installed

__all__ = ["VarnishServer", "varnish"]

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "varnish.vcl"


class VarnishServer(Server):
    """One Varnish before what answers on `behind`."""

    def __init__(self, folder: Path, world: World, *, port: int, behind: int) -> None:
        self._folder = folder.resolve()
        self._configuration = self._folder / "varnish.vcl"
        self._behind = behind
        command = [
            str(installed("varnishd", "varnish")), "-F", "-j", "none", "-n", str(self._folder / "work"),
            "-f", str(self._configuration), "-a", f"{HOST}:{port}", "-T", "none", "-s", "malloc,32m",
            "-p", "thread_pool_min=5", "-p", "thread_pools=1",
        ]  # fmt: skip
        super().__init__(Child("Varnish", command, self._folder / "varnish.log"), port, world)

    async def prepare(self) -> None:
        """Write the configuration, for what it stands before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ours = CONFIGURATION.read_text()
        theirs = ours.replace('.port = "8000"', f'.port = "{self._behind}"')
        assert theirs != ours
        self._configuration.write_text(theirs)

    async def answers(self) -> bool:
        """It answers a request, whatever it says."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(b"PURGE / HTTP/1.1\r\nHost: varnish\r\nConnection: close\r\n\r\n")
            return (await reader.readline()).startswith(b"HTTP/1.1 400")
        finally:
            writer.close()


@asynccontextmanager
async def varnish(folder: Path, world: World, *, port: int, behind: int) -> AsyncIterator[VarnishServer]:
    """A Varnish as long as the block lasts; skips the test where there is none."""
    server = VarnishServer(folder, world, port=port, behind=behind)
    async with running(server):
        yield server
