"""The gateway within the process: its own limit, and what it does not take."""

import asyncio

from starlette.types import Receive, Scope, Send

from colonnade.gateway import EmbeddedGateway
from colonnade.observability.foreground import Foreground
from colonnade.observability.health import Health, HealthBoard, HealthState, Severity
from colonnade.testing.http import request
from colonnade.world import real_world
from tests.gateway.scraping import states_at


class Slow:
    """A service that answers when it is told to."""

    def __init__(self) -> None:
        self.answering = asyncio.Event()
        self.asked = asyncio.Semaphore(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, in time."""
        self.asked.release()
        await self.answering.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["root_path"].encode()})


async def test_above_its_limit_it_asks_to_come_again() -> None:
    """With 503 and Retry-After, at once; when requests have ended, one way or the other, there is room again."""
    slow, health = Slow(), Health(real_world().clock, [])
    gateway = EmbeddedGateway({"slow": slow}, health, {"slow": health}, Foreground(), limit=2)
    async with asyncio.TaskGroup() as group:
        first, second = (group.create_task(request(gateway, "GET", "/api/slow/x")) for _ in range(2))
        await slow.asked.acquire()
        await slow.asked.acquire()
        busy = await request(gateway, "GET", "/api/slow/x")
        assert (busy.status, busy.headers["retry-after"]) == (503, "1")
        assert busy.json()["type"] == "urn:problem:colonnade.Busy"
        assert busy.headers["cache-control"] == "no-store"
        second.cancel()
        await asyncio.wait([second])
        slow.answering.set()
        assert (await request(gateway, "GET", "/api/slow/x")).status == 200
        assert (await first).body == b"/api/slow"


async def test_each_state_that_stands_is_a_metric() -> None:
    """Of all at the gateway and of one service below it, in the format that Prometheus scrapes, while it stands."""
    board, other = HealthBoard(), HealthBoard()
    clock = real_world().clock
    all_of_them, slow = Health(clock, [board, other]), Health(clock, [board])
    gateway = EmbeddedGateway({"slow": Slow()}, all_of_them, {"slow": slow}, Foreground())
    assert await states_at(gateway, "/metrics") == {}
    board.raise_state(HealthState('slow."hole"', Severity.DEGRADED, "A message is missing."))
    other.raise_state(HealthState("fast.history", Severity.FATAL, "It was promoted."))
    assert await states_at(gateway, "/metrics") == {
        ('slow."hole"', "degraded"): 1.0,
        ("fast.history", "fatal"): 1.0,
    }
    assert await states_at(gateway, "/api/slow/metrics") == {('slow."hole"', "degraded"): 1.0}
    other.clear("fast.history")
    assert await states_at(gateway, "/metrics") == {('slow."hole"', "degraded"): 1.0}


async def test_what_is_no_request_is_left_alone() -> None:
    """A server that offers a web socket, or tells of its life, gets no answer."""
    health = Health(real_world().clock, [])
    gateway = EmbeddedGateway({}, health, {}, Foreground())

    async def receive() -> dict[str, object]:
        raise AssertionError("nothing is taken")

    async def send(message: object) -> None:
        raise AssertionError("nothing is said")

    await gateway({"type": "websocket"}, receive, send)
    await gateway({"type": "lifespan"}, receive, send)


async def test_a_probe_of_a_service_that_is_not_there_is_an_unknown_route() -> None:
    """It tells which services there are."""
    health = Health(real_world().clock, [])
    gateway = EmbeddedGateway({"slow": Slow()}, health, {"slow": health}, Foreground())
    answer = await request(gateway, "GET", "/api/fast/health/live")
    assert (answer.status, answer.json()["type"]) == (404, "urn:problem:colonnade.UnknownRoute")
    assert "under /api/ there are slow" in answer.json()["detail"]
