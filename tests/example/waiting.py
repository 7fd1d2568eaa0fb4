"""A small system for tests: a service whose requests take as long as the test wants."""

import asyncio

from starlette.types import Receive, Scope, Send

from colonnade.presentation import Api, Mount
from colonnade.system import Service, System

__all__ = ["Waiting", "waiting"]


class Waiting:
    """Answers at /api/waiting/wait when it is told to go on."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()
        self.system = System("waiting", [Service("waiting", api=Api(Mount("/wait", self._wait)))])

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.arrived.set()
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})


waiting = Waiting().system
