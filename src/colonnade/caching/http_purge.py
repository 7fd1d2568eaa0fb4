"""Purging over HTTP, as Varnish is configured to take it and as Fastly and others offer it."""

import asyncio
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from colonnade.caching.purge import PurgeFailed

__all__ = ["HttpPurge"]

PURGE_SECONDS = 5.0
KEYS_A_REQUEST = 50
"""Servers bound the length of a header."""


class HttpPurge:
    """Sends `PURGE` with the keys in `Surrogate-Key` to each of `urls`; what answers in the 200s has forgotten them."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(urls)

    async def purge(self, keys: Collection[str]) -> None:
        """Forget every page that has one of `keys`; raises `PurgeFailed`."""
        every = sorted(keys)
        for url in self._urls:
            for start in range(0, len(every), KEYS_A_REQUEST):
                await _purge(url, every[start : start + KEYS_A_REQUEST])


async def _purge(url: str, keys: Sequence[str]) -> None:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    request = (
        f"PURGE {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nSurrogate-Key: {' '.join(keys)}\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(PURGE_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=secure)
            try:
                writer.write(request.encode("latin-1"))
                status = await reader.readline()
            finally:
                writer.close()
    except TimeoutError:
        raise PurgeFailed(url, f"there was no answer for {PURGE_SECONDS} s") from None
    except OSError as error:
        raise PurgeFailed(url, f"{error}") from error
    code = status.split(b" ", 2)[1:2]
    if not code or not code[0].startswith(b"2"):
        told = status.decode("latin-1").strip() or "it closed the connection"
        raise PurgeFailed(url, f"it answered {told}")
