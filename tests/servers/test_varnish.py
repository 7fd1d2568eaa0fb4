"""Varnish from Debian's package."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from colonnade.caching.http_purge import HttpPurge
from colonnade.world import real_world
from tests.servers import varnish as module
from tests.servers.starters import all_end, ends_with_its_starter
from tests.servers.varnish import varnish

WORLD = real_world()


async def test_pages_are_kept_until_one_of_their_keys_is_purged(tmp_path: Path) -> None:
    """Keys are whole words, and no patterns; private pages are never kept; a kill empties it."""
    async with _counting_pages() as behind, varnish(tmp_path, WORLD, behind) as server:
        async with aiohttp.ClientSession() as client:

            async def page(path: str) -> str:
                async with client.get(f"{server.url}/{path}") as answer:
                    assert answer.status == 200
                    assert "Surrogate-Key" not in answer.headers
                    return await answer.text()

            purge = HttpPurge([server.url])
            assert [await page("public") for _ in range(3)] == ["1", "1", "1"]
            assert [await page("private") for _ in range(2)] == ["2", "3"]
            await purge.purge(["other", "product.7", "product"])
            assert await page("public") == "1"
            await purge.purge(["other", "product.7-ab"])
            assert [await page("public") for _ in range(2)] == ["4", "4"]
            await purge.purge(["product_7-ab"])
            assert await page("public") == "4"
        await server.kill()
        assert not server.is_running
        await server.start()
        async with aiohttp.ClientSession() as client, client.get(f"{server.url}/public") as answer:
            assert await answer.text() == "5"
    assert not server.is_running


def test_nothing_is_left_when_its_starter_is_killed(tmp_path: Path) -> None:
    """The manager ends with it, and the cache with its manager."""
    assert ends_with_its_starter(module.__name__, "varnish", tmp_path, behind=9)
    assert all_end(f"VARNISH_DEFAULT_N={tmp_path / 'work'}")


@asynccontextmanager
async def _counting_pages() -> AsyncIterator[int]:
    """A server, by its port, whose answers are numbered; public ones have two surrogate keys."""
    answered = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        answered += 1
        kept = "private" if b"/private" in await reader.readuntil(b"\r\n\r\n") else "public, max-age=600"
        body = str(answered)
        writer.write(
            f"HTTP/1.1 200 OK\r\nCache-Control: {kept}\r\nSurrogate-Key: products product.7-ab\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        yield port
