"""A Varnish of Debian's package before an HTTP server: it stands in for a CDN."""

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

_VCL = Path(__file__).with_suffix(".vcl")


class VarnishServer(Server):
    """One cache in memory, empty after each start.

    It forgets pages on `PURGE` with their keys, separated by spaces, in `Surrogate-Key`.
    """

    def __init__(self, folder: Path, world: World, behind: str, *, port: int) -> None:
        self._folder = folder.resolve()
        self._name = f"colonnade-{world.ids.new()}"
        self._behind = behind
        self._configuration = self._folder / "varnish.vcl"
        command = [
            str(installed("varnishd", "varnish")), "-F", "-j", "none", "-n", str(self._folder / "work"),
            "-f", str(self._configuration), "-a", f"{HOST}:{port}", "-T", "none", "-s", "default,64m",
        ]  # fmt: skip
        environment = {"VARNISH_DEFAULT_N": str(self._folder / "work")}
        super().__init__(Child("Varnish", command, self._folder / "varnish.log", environment), port, world)

    @property
    def url(self) -> str:
        """Where clients ask, and where `PURGE` is sent."""
        return f"http://{self.host}:{self.port}"

    async def prepare(self) -> None:
        """Write its configuration."""
        (self._folder / "work").mkdir(parents=True, exist_ok=True)
        host, port = self._behind.rsplit(":", 1)
        named = {"@HOST@": host, "@PORT@": port, "@NAME@": self._name}
        vcl = _VCL.read_text()
        for mark, value in named.items():
            vcl = vcl.replace(mark, value)
        self._configuration.write_text(vcl)

    async def answers(self) -> bool:
        """It answers to its name, which it does once its configuration is compiled."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(b"PING / HTTP/1.1\r\nHost: varnish\r\nConnection: close\r\n\r\n")
            return self._name.encode() in await reader.readline()
        finally:
            writer.close()


@asynccontextmanager
async def varnish(folder: Path, world: World, behind: str, *, port: int | None = None) -> AsyncIterator[VarnishServer]:
    """A Varnish before the server at `behind`, a `host:port`, as long as the block lasts; skips where it is missing."""
    server = VarnishServer(folder, world, behind, port=port or free_port())
    async with running(server):
        yield server
