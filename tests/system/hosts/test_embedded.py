"""The embedded host, from its first request to its last."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from colonnade.system import InvalidSystem, Service, System
from colonnade.system.admin.operations import ListProjections
from colonnade.system.admin.reports import Finished
from colonnade.system.admin.socket import ask_host
from colonnade.system.hosts.data_directory import own_data_directory
from colonnade.system.hosts.embedded import EmbeddedHost, HostSettings, Serving
from colonnade.system.hosts.listening import AddressUnusable
from colonnade.world import real_world
from tests.example.bakery.system import bakery
from tests.example.waiting import Waiting


@asynccontextmanager
async def hosted(system: System, data: Path) -> AsyncIterator[tuple[EmbeddedHost, Serving, "asyncio.Task[None]"]]:
    """A host that answers, stopped with the block."""
    ready: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
    settings = HostSettings(data, port=0)
    host = EmbeddedHost(system, settings, real_world(), ready=ready.set_result, stopping=lambda: None)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(host.run())
        serving = await ready
        yield host, serving, running
        host.stop()


async def requested(url: str, path: str) -> tuple[int, bytes]:
    """Status and body of a GET, on a connection of its own."""
    name, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    return int(head.split()[1]), body


async def test_requests_in_flight_are_answered_while_it_stops(tmp_path: Path) -> None:
    """A clean stop fails no request: what has begun is finished, and only then the host is gone."""
    waiting = Waiting()
    async with hosted(waiting.system, tmp_path) as (host, serving, running):
        begun = asyncio.create_task(requested(serving.url, "/api/waiting/wait"))
        await waiting.arrived.wait()
        host.stop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.shield(running)
        waiting.go_on.set()
        assert await begun == (200, b"done")
        await running
        with pytest.raises(ConnectionRefusedError):
            await requested(serving.url, "/health/live")


async def test_operations_reach_the_running_system(tmp_path: Path) -> None:
    """The admin socket speaks of the very services that run."""
    async with hosted(bakery, tmp_path) as (_, serving, _):
        assert serving.data.path == tmp_path
        (report,) = await asyncio.to_thread(lambda: list(ask_host(tmp_path, ListProjections("baking"))))
    assert isinstance(report, Finished)
    assert [(each.projection, each.running) for each in report.projections] == [("Batches", True)]


async def test_a_system_that_cannot_run_leaves_nothing(tmp_path: Path) -> None:
    """What is wrong is raised, and the directory and the port are free again."""
    wrong = System("wrong", [Service("twice"), Service("twice")])
    host = EmbeddedHost(wrong, HostSettings(tmp_path, port=0), real_world(), ready=print, stopping=lambda: None)
    with pytest.raises(InvalidSystem, match="the service twice: is declared twice"):
        await host.run()
    with own_data_directory(tmp_path):
        pass


async def test_it_can_be_stopped_before_it_is_ready(tmp_path: Path) -> None:
    """A signal while the system is being built is a clean stop as well."""
    said: list[str] = []
    host = EmbeddedHost(
        bakery,
        HostSettings(tmp_path, port=0),
        real_world(),
        ready=lambda _: said.append("ready"),
        stopping=lambda: said.append("stopping"),
    )
    host.stop()
    host.stop()
    async with asyncio.timeout(10):
        await host.run()
    assert said == ["stopping"]


async def test_a_state_of_health_is_in_the_log_and_in_the_answer(
    tmp_path: Path, logged: list[MutableMapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that fails is named to probes and in the log, and the host serves on."""

    async def broken(_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("colonnade.workers.timers.Timers.run", broken)
    async with hosted(bakery, tmp_path) as (_, serving, _):
        while not any(line["event"] == "loop failed" for line in logged):  # noqa: ASYNC110 - the log tells no one
            await asyncio.sleep(0.01)
        status, body = await requested(serving.url, "/health/ready")
    states = msgspec.json.decode(body)["states"]
    assert status == 200
    assert {(state["name"], state["severity"]) for state in states} == {
        ("baking.timers.failing", "degraded"),
        ("selling.timers.failing", "degraded"),
    }


async def test_an_address_of_the_new_protocol_is_written_as_a_url(tmp_path: Path) -> None:
    """The banner's address can be pasted into a browser."""
    ready: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
    settings = HostSettings(tmp_path, host="::1", port=0)
    host = EmbeddedHost(Waiting().system, settings, real_world(), ready=ready.set_result, stopping=lambda: None)
    try:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(host.run())
            serving = await ready
            host.stop()
    except* AddressUnusable:
        pytest.skip("this machine has no IPv6")
    assert serving.url.startswith("http://[::1]:")
