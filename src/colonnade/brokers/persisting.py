"""Doing something again and again, whatever fails: members of groups go on when a store or a server is back."""

import asyncio
from collections.abc import Awaitable, Callable

from colonnade.observability.logs import get_logger

__all__ = ["persist"]

SHORTEST_WAIT_SECONDS = 0.05

_log = get_logger()


async def persist(
    step: Callable[[], Awaitable[None]], closing: asyncio.Event, longest_wait_seconds: float, **told: str
) -> None:
    """Take one `step` after the other until `closing`; after one that failed it waits, longer every time in a row."""
    wait = SHORTEST_WAIT_SECONDS
    while not closing.is_set():
        try:
            await step()
        except Exception as error:  # whatever a receiver or a client raises: its store is away, perhaps
            _log.warning("messages not taken over", **told, cause=str(error) or type(error).__name__)
            await _until(closing, wait)
            wait = min(wait * 2, longest_wait_seconds)
        else:
            wait = SHORTEST_WAIT_SECONDS


async def _until(closing: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await closing.wait()
    except TimeoutError:
        return
