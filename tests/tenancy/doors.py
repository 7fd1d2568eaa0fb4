"""Rooms behind a door."""

from starlette.types import Receive, Scope, Send


class Room:
    """Lets everybody in, and counts."""

    def __init__(self) -> None:
        self.entered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Welcome."""
        self.entered += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
