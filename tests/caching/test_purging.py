"""Pages before the services: kept by a real Varnish, purged by the events that change them."""

import asyncio
import http.client
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from colonnade.caching.http_purge import HttpPurge
from colonnade.caching.purge import PurgeFailed, PurgeQueue
from colonnade.system.hosts.embedded import EmbeddedHost, HostSettings, Serving
from colonnade.system.hosts.servers.ports import free_port
from colonnade.world import real_world
from tests.caching.pinboard import answered, pinboard
from tests.servers.varnish import varnish

WITHIN_SECONDS = 20.0
_WORLD = real_world()


@dataclass(frozen=True)
class Page:
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    body: str


async def get(port: int, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Page:
    """Ask as any HTTP client."""

    def ask() -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_SECONDS)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {"Content-Type": "application/json", **named} if body else named)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Page(answer.status, told, answer.read().decode())
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


@asynccontextmanager
async def serving(data: Path, purge: Collection[str]) -> AsyncIterator[int]:
    """The pinboard as `colonnade up --purge` runs it; its port."""
    ready: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
    settings = HostSettings(data, port=0, purge=tuple(purge))
    host = EmbeddedHost(pinboard, settings, _WORLD, ready=ready.set_result, stopping=lambda: None)
    running = asyncio.create_task(host.run())
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            url = (await ready).url
        yield int(url.rpartition(":")[2])
    finally:
        host.stop()
        await running


async def test_a_kept_page_is_purged_by_the_event_that_changes_it(tmp_path: Path) -> None:
    """Varnish answers for the service until an event changes what the page was made from; then the page is fresh."""
    edge = free_port()
    async with (
        serving(tmp_path / "data", [f"http://127.0.0.1:{edge}"]) as port,
        varnish(tmp_path / "varnish", _WORLD, port, port=edge),
    ):
        page = "/api/notes/note/public"
        await get(port, "/api/notes/note", "POST", '{"text": "one"}')
        await until(edge, page, '"one"')
        first = await get(edge, page)
        answered.clear()
        kept = await get(edge, page)
        assert (kept.status, kept.body, kept.headers["etag"]) == (200, '"one"', first.headers["etag"])
        assert kept.headers["x-correlation-id"] == first.headers["x-correlation-id"], "not from Varnish"
        assert not answered
        assert "surrogate-key" not in kept.headers
        assert (await get(port, page)).headers["surrogate-key"] == "notes.pinned"
        assert (await get(edge, page, If_None_Match=kept.headers["etag"])).status == 304

        done = await get(port, "/api/notes/note", "POST", '{"text": "two"}')
        seen = await get(edge, page, Colonnade_Token=done.headers["colonnade-token"])
        assert seen.body == '"two"', "who has seen the change is not given the page before it"
        await until(edge, page, '"two"')


async def test_private_answers_are_not_kept_before_the_service(tmp_path: Path) -> None:
    """What depends on the caller, and what has no cache, reaches the service each time."""
    edge = free_port()
    async with (
        serving(tmp_path / "data", []) as port,
        varnish(tmp_path / "varnish", _WORLD, port, port=edge),
    ):
        await get(port, "/api/notes/note", "POST", '{"text": "one"}')
        await until(port, "/api/notes/note/anew", '"one"')
        for path in ("/api/notes/note", "/api/notes/note/anew"):
            ids = {(await get(edge, path)).headers["x-correlation-id"] for _ in range(3)}
            assert len(ids) == 3


async def until(port: int, path: str, body: str) -> None:
    """Ask until the answer is `body`."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while (await get(port, path)).body != body:
            await _WORLD.sleep(0.01)


class Proxy:
    """A purge that fails for a while."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.purged: list[set[str]] = []
        self.done = asyncio.Event()

    async def purge(self, keys: Collection[str]) -> None:
        """Fail, or note `keys`."""
        if self.failures:
            self.failures -= 1
            raise PurgeFailed("the edge", "connection refused")
        self.purged.append(set(keys))
        self.done.set()


async def test_what_could_not_be_purged_is_purged_later() -> None:
    """While the edge is away changes gather and health names it; then they are purged together."""
    proxy = Proxy(failures=2)
    queue = PurgeQueue(proxy, _WORLD)
    queue.add(["a", "b"])
    running = asyncio.create_task(queue.run())
    async with asyncio.timeout(WITHIN_SECONDS):
        while not queue.health():
            await _WORLD.sleep(0)
        queue.add(["b", "c"])
        await proxy.done.wait()
        while queue.health():
            await _WORLD.sleep(0)
    assert proxy.purged == [{"a", "b", "c"}]
    running.cancel()
    await asyncio.wait([running])


async def test_an_edge_that_does_not_take_a_purge_is_named() -> None:
    """Nobody there, or another answer than 2xx: the error says where and what."""
    closed = free_port()
    with pytest.raises(PurgeFailed, match=f"127.0.0.1:{closed} did not purge"):
        await HttpPurge([f"http://127.0.0.1:{closed}"]).purge(["a"])

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 405 Not Allowed\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PurgeFailed, match="405 Not Allowed"):
            await HttpPurge([f"http://127.0.0.1:{port}/"]).purge(["a"])
