"""Rooms behind a door."""

import asyncio

from starlette.types import Receive, Scope, Send


class Room:
    """Lets everybody in, and counts; who is in stays until it is `open`."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.entered = 0
        self.open = asyncio.Event()
        self.came = asyncio.Semaphore(0)
        if is_open:
            self.open.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Welcome."""
        self.entered += 1
        self.came.release()
        await self.open.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
