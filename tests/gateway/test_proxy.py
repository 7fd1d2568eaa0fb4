"""The gateway as a process of its own: the same answers as within the process, from whichever instance is there."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from colonnade.discovery import Address
from colonnade.gateway import EmbeddedGateway, proxy
from colonnade.gateway.proxy import ProxyGateway
from colonnade.observability.health import Health, Phase
from colonnade.presentation.balancing import Balancer
from colonnade.system.hosts.listening import Server, bound
from colonnade.testing import running_system
from colonnade.testing.http import HttpAnswer, request
from colonnade.world import real_world
from tests.gateway.scraping import states_at
from tests.presentation.library import library

WORLD = real_world()


@dataclass
class Table:
    """A registry that the test writes."""

    addresses: list[Address] = field(default_factory=list)

    def instances(self, service: str) -> Sequence[Address]:
        """Of the one service."""
        return tuple(self.addresses) if service == "lending" else ()


class Instances:
    """Servers, and a gateway before them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.table = Table()
        self.balancer = Balancer(self.table)
        stack.callback(self.balancer.close)
        self.health = Health(WORLD.clock)
        self.health.phase = Phase.SERVING
        self.gateway = ProxyGateway(["lending"], self.table, self.balancer, self.health)

    async def add(self, app: ASGIApp) -> "Instance":
        """One more instance."""
        instance = Instance(app)
        await self._stack.enter_async_context(instance.stack)
        await instance.start()
        self.table.addresses.append(instance.address)
        return instance


class Instance:
    """One server on a port of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.stack = AsyncExitStack()
        self._server = Server(app)

    async def start(self) -> None:
        """Listen."""
        listener = self.stack.enter_context(bound("127.0.0.1", 0))
        self._serving = asyncio.create_task(self._server.serve([listener]))
        self.stack.push_async_callback(self.stop)
        await self._server.ready.wait()
        self.address = Address("127.0.0.1", listener.getsockname()[1])

    async def stop(self) -> None:
        """Finish what is being answered, and close."""
        self._server.should_exit = True
        await self._serving


@pytest.fixture
async def instances() -> AsyncIterator[Instances]:
    """None at first."""
    async with AsyncExitStack() as stack:
        yield Instances(stack)


class Echo:
    """Answers with what it was asked; held back while `gate` is closed."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.seen: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        self.seen.append(dict(scope))
        self.asked.set()
        await self.gate.wait()
        headers = [(b"x-name", self.name.encode()), (b"connection", b"x-of-this-hop"), (b"x-of-this-hop", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"first ", "more_body": True})
        await send({"type": "http.response.body", "body": b"second"})


class Dropping:
    """Takes a request, and its process is gone."""

    def __init__(self) -> None:
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Close once something has come."""
        await reader.read(1)
        self.asked += 1
        writer.close()


EMMA = {"title": "Emma"}
REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a query": ("GET", "/api/lending/books?search=K%C3%A4se%26co&limit=3", {}),
    "a head": ("HEAD", "/api/lending/books", {}),
    "a query that is wrong": ("GET", "/api/lending/books?limit=none", {}),
    "a command": ("POST", "/api/lending/stocktaking", {"json": {"copies": []}}),
    "a refusal": ("POST", "/api/lending/books", {"json": {"title": ""}}),
    "a body that is none": ("POST", "/api/lending/books", {"body": b"{"}),
    "a chunked body that is too large": ("POST", "/api/lending/books", {"chunks": 20}),
    "a method that is not possible": ("DELETE", "/api/lending/books", {}),
    "a failure": ("POST", "/api/lending/crash", {"json": {}}),
    "an escaped path": ("GET", "/api/lending/books/%2F%C3%A4", {}),
    "a mounted application": ("GET", "/api/lending/plain/x", {}),
    "an unknown service": ("GET", "/api/cinema/films", {}),
    "nothing": ("GET", "/", {}),
    "what processes ask of each other": ("POST", "/-/messages/lending.AddBook", {"json": EMMA}),
    "the same behind the prefix": ("POST", "/api/lending/-/messages/lending.AddBook", {"json": EMMA}),
    "the same by a detour": ("POST", "/api/lending/../../-/messages/lending.AddBook", {"json": EMMA}),
    "a probe of a service": ("GET", "/api/lending/health/startup", {}),
    "a probe": ("GET", "/health/live", {}),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_answers_are_those_of_the_gateway_within_a_process(
    instances: Instances, tmp_path: Path, name: str
) -> None:
    """Status, headers and body, of services and of the gateway itself."""
    method, target, options = REQUESTS[name]
    headers = {"x-correlation-id": "00000000-0000-0000-0000-000000000001"}

    async def asked(app: ASGIApp) -> HttpAnswer:
        sent = dict(options)
        if "chunks" in sent:
            sent["body"] = _chunks(sent.pop("chunks"))
        return await request(app, method, target, headers=headers, **sent)

    async with running_system(library, tmp_path) as system:
        embedded: EmbeddedGateway = system.runtime.gateway
        system.runtime.health.phase = Phase.SERVING
        await instances.add(embedded)
        within, through = await asked(embedded), await asked(instances.gateway)
    assert (through.status, through.body) == (within.status, within.body)
    left_out = {"x-correlation-id"} if within.status == 413 else set()  # it comes from the gateway
    assert within.headers.keys() - through.headers.keys() == left_out
    assert through.headers.items() <= within.headers.items()


async def _chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 65_536


async def test_what_belongs_to_one_connection_stays_there(instances: Instances) -> None:
    """Neither is what concerns a connection handed on or back, nor may a client speak as a process of the system."""
    echo = Echo("a")
    await instances.add(echo)
    answer = await request(
        instances.gateway,
        "GET",
        "/api/lending/x?y=1",
        headers={
            "connection": "keep-alive, X-Hop",
            "x-hop": "1",
            "te": "trailers",
            "colonnade-context": "{}",
            "colonnade-token": "t",
            "x-other": "2",
        },
    )
    (scope,) = echo.seen
    sent = {name for name, _ in scope["headers"]}
    assert sent == {b"host", b"colonnade-token", b"x-other"}
    assert (scope["raw_path"], scope["query_string"]) == (b"/api/lending/x", b"y=1")
    assert answer.body == b"first second"
    assert answer.headers == {"x-name": "a"}


async def test_instances_take_turns(instances: Instances) -> None:
    """And the one that answers slowly gets fewer requests."""
    first, second = Echo("first"), Echo("second")
    await instances.add(first)
    await instances.add(second)
    names = [(await request(instances.gateway, "GET", "/api/lending/x")).headers["x-name"] for _ in range(6)]
    assert names == ["first", "second"] * 3
    first.gate.clear()
    first.asked.clear()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(request(instances.gateway, "GET", "/api/lending/x"))
        await first.asked.wait()
        names = [(await request(instances.gateway, "GET", "/api/lending/x")).headers["x-name"] for _ in range(4)]
        assert names == ["second"] * 4
        first.gate.set()
        assert (await waiting).status == 200


async def test_without_an_instance_it_asks_to_come_again(instances: Instances) -> None:
    """With 503 and Retry-After, by the service's name; its health names the service too."""
    answer = await request(instances.gateway, "GET", "/api/lending/x")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:problem:colonnade.NoInstance"
    assert answer.json()["detail"].startswith("lending did not answer: no instance of it is running")
    (state,) = (await request(instances.gateway, "GET", "/health/ready")).json()["states"]
    assert state["name"] == "lending.instances"
    assert await states_at(instances.gateway, "/metrics") == {("lending.instances", "degraded"): 1.0}
    await instances.add(Echo())
    assert (await request(instances.gateway, "GET", "/api/lending/x")).status == 200
    assert (await request(instances.gateway, "GET", "/health/ready")).json()["states"] == []
    assert await states_at(instances.gateway, "/metrics") == {}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [("GET", {}, 200), ("POST", {"idempotency-key": "k"}, 200), ("POST", {}, 502)],
    ids=["a query", "a command with a key", "a command without"],
)
async def test_what_may_be_done_twice_goes_to_another_instance(
    instances: Instances, method: str, headers: dict[str, str], status: int
) -> None:
    """When one is gone in the middle; what may have been done by it is not sent again, and the client is told."""
    dropping = Dropping()
    gone = await asyncio.start_server(dropping.serve, "127.0.0.1", 0)
    async with gone:
        instances.table.addresses.append(Address("127.0.0.1", gone.sockets[0].getsockname()[1]))
        await instances.add(Echo())
        answer = await request(instances.gateway, method, "/api/lending/x", headers=headers)
    assert answer.status == status
    assert dropping.asked == 1
    if status == 502:
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["type"] == "urn:problem:colonnade.UpstreamFailed"


async def test_one_that_takes_no_connection_is_passed_over(instances: Instances) -> None:
    """For commands too: nothing has reached it."""
    stopped = await instances.add(Echo())
    await instances.add(Echo("there"))
    await stopped.stop()
    for _ in range(4):
        answer = await request(instances.gateway, "POST", "/api/lending/x")
        assert (answer.status, answer.headers.get("x-name")) == (200, "there")


async def test_an_instance_taken_out_first_fails_no_request(instances: Instances) -> None:
    """What it answers is finished, what comes goes elsewhere: so are instances replaced under load."""
    leaving, staying = Echo("leaving"), Echo("staying")
    instance = await instances.add(leaving)
    await instances.add(staying)
    leaving.gate.clear()
    async with asyncio.TaskGroup() as group:
        begun = group.create_task(request(instances.gateway, "POST", "/api/lending/x"))
        await leaving.asked.wait()
        instances.table.addresses.remove(instance.address)
        stopping = group.create_task(instance.stop())
        for _ in range(5):
            answer = await request(instances.gateway, "POST", "/api/lending/x")
            assert (answer.status, answer.headers["x-name"]) == (200, "staying")
        leaving.gate.set()
        assert (await begun).headers["x-name"] == "leaving"
        await stopping


async def test_nobody_waits_for_an_instance_that_hangs(instances: Instances, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the caller's own deadline, with a little grace for the service to say so itself."""
    monkeypatch.setattr(proxy, "GRACE_SECONDS", 0.05)
    hanging = Echo()
    hanging.gate.clear()
    await instances.add(hanging)
    answer = await request(instances.gateway, "GET", "/api/lending/x", headers={"x-request-timeout": "0.05"})
    assert (answer.status, answer.json()["type"]) == (504, "urn:problem:colonnade.DeadlinePassed")
    hanging.gate.set()


async def test_above_its_limit_it_asks_to_come_again(instances: Instances) -> None:
    """At once; what is being answered goes on."""
    gateway = ProxyGateway(["lending"], instances.table, instances.balancer, instances.health, limit=1)
    echo = Echo()
    echo.gate.clear()
    await instances.add(echo)
    async with asyncio.TaskGroup() as group:
        begun = group.create_task(request(gateway, "GET", "/api/lending/x"))
        await echo.asked.wait()
        busy = await request(gateway, "GET", "/api/lending/x")
        assert (busy.status, busy.headers["retry-after"]) == (503, "1")
        assert busy.json()["type"] == "urn:problem:colonnade.Busy"
        echo.gate.set()
        assert (await begun).status == 200
