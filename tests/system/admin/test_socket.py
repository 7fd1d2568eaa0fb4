"""The admin socket between a host and its command line."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncGenerator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from colonnade.system.admin.operations import DiscardDeadLetters, Operation, OperationFailed, RebuildProjection
from colonnade.system.admin.reports import Failed, Finished, Progress, Report
from colonnade.system.admin.socket import (
    LINE_LIMIT_BYTES,
    AdminSocketTaken,
    HostNotRunning,
    ask_host,
    serve_operations,
)

REBUILD = RebuildProjection("ordering", "OrderHistory")
DISCARD = DiscardDeadLetters("ordering", (7,))


class Host:
    """Carries operations out as the test says, and remembers them."""

    def __init__(self) -> None:
        self.asked: list[Operation] = []
        self.cancelled = asyncio.Event()
        self.begun = asyncio.Event()

    async def perform(self, operation: Operation) -> AsyncGenerator[Report, None]:
        self.asked.append(operation)
        match operation:
            case RebuildProjection(projection="OrderHistory"):
                for done in (0, 50, 100):
                    yield Progress(done, 100)
                yield Finished("OrderHistory is rebuilt", 100)
            case RebuildProjection(projection="Endless"):
                try:
                    done = 0
                    while True:
                        yield Progress(done, done)
                        done += 1
                        self.begun.set()
                finally:
                    self.cancelled.set()
            case RebuildProjection(projection=projection):
                raise OperationFailed(f"ordering has no projection {projection}")
            case _:
                raise ZeroDivisionError("a mistake")


async def asked(directory: Path, operation: Operation) -> list[Report]:
    """All that the host tells about `operation`, asked from a thread as another process would."""
    return await asyncio.to_thread(lambda: list(ask_host(directory, operation)))


async def test_an_operation_is_carried_out_and_its_progress_told(tmp_path: Path) -> None:
    """The client sees every report, in order, and the host the operation as it was asked."""
    host = Host()
    async with serve_operations(tmp_path, host.perform):
        assert await asked(tmp_path, REBUILD) == [
            Progress(0, 100),
            Progress(50, 100),
            Progress(100, 100),
            Finished("OrderHistory is rebuilt", 100),
        ]
    assert host.asked == [REBUILD]


async def test_only_the_owner_may_open_the_socket(tmp_path: Path) -> None:
    """Whoever can open it can act on the system."""
    async with serve_operations(tmp_path, Host().perform):
        mode = (tmp_path / "admin.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


async def test_a_deep_directory_has_a_socket_too(tmp_path: Path) -> None:
    """The kernel's limit on the names of sockets is not the user's."""
    deep = tmp_path.joinpath(*("d" * 40 for _ in range(6)))
    deep.mkdir(parents=True)
    assert len(os.fsencode(deep)) > 200
    async with serve_operations(deep, Host().perform):
        assert (deep / "admin.sock").is_socket()
        reports = await asked(deep, REBUILD)
        assert reports[-1] == Finished("OrderHistory is rebuilt", 100)


async def test_the_socket_of_a_dead_host_is_replaced(tmp_path: Path) -> None:
    """What a killed process left behind is no obstacle to the next."""
    left_behind = socket.socket(socket.AF_UNIX)
    left_behind.bind(str(tmp_path / "admin.sock"))
    left_behind.close()
    with pytest.raises(HostNotRunning):
        await asked(tmp_path, REBUILD)
    async with serve_operations(tmp_path, Host().perform):
        assert len(await asked(tmp_path, REBUILD)) == 4


async def test_something_else_in_its_place_is_left_alone(tmp_path: Path) -> None:
    """A file that nobody knows is not deleted."""
    (tmp_path / "admin.sock").write_text("dear diary")
    with pytest.raises(AdminSocketTaken, match="is not a socket, so it is not replaced; move it away"):
        await serve_operations(tmp_path, Host().perform).__aenter__()
    assert (tmp_path / "admin.sock").read_text() == "dear diary"


async def test_nothing_is_left_when_the_host_stops(tmp_path: Path) -> None:
    """After a clean stop there is no socket, and asking says that nothing runs."""
    async with serve_operations(tmp_path, Host().perform):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(HostNotRunning, match=f"No system runs on {tmp_path}; start it with colonnade up"):
        await asked(tmp_path, REBUILD)


async def test_a_failed_operation_says_why(tmp_path: Path, logged: list[MutableMapping[str, Any]]) -> None:
    """What was expected to fail is told as it is, a mistake of the code with its type, and both are in the log."""
    async with serve_operations(tmp_path, Host().perform):
        assert await asked(tmp_path, RebuildProjection("ordering", "Nothing")) == [
            Failed("ordering has no projection Nothing")
        ]
        assert await asked(tmp_path, DISCARD) == [Failed("ZeroDivisionError: a mistake")]
    assert [(line["event"], line["log_level"]) for line in logged] == [
        ("operation failed", "warning"),
        ("operation failed", "error"),
    ]


async def test_an_operation_ends_with_its_client(tmp_path: Path) -> None:
    """A rebuild that nobody watches any more does not go on unseen; the host serves the next client."""
    host = Host()

    def first_report() -> Report:
        return next(iter(ask_host(tmp_path, RebuildProjection("ordering", "Endless"))))

    async with serve_operations(tmp_path, host.perform), asyncio.timeout(10):
        assert await asyncio.to_thread(first_report) == Progress(0, 0)
        await host.cancelled.wait()
        assert len(await asked(tmp_path, REBUILD)) == 4


async def test_a_host_that_stops_says_that_the_operation_is_not_done(tmp_path: Path) -> None:
    """The client is not left waiting, nor told that all is well."""
    host = Host()
    async with serve_operations(tmp_path, host.perform), asyncio.timeout(10):
        asking = asyncio.create_task(asked(tmp_path, RebuildProjection("ordering", "Endless")))
        await host.begun.wait()
    reports = await asking
    assert isinstance(reports[-1], Failed)
    assert "The host" in reports[-1].reason
    assert host.cancelled.is_set()


def spoken(path: Path, data: bytes) -> Iterator[dict[str, Any]]:
    """What the socket answers to bytes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as lines:
            for line in lines:
                yield json.loads(line)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"not json\n",
        b"\xff\xfe\n",
        b'{"type":"FormatDisk","service":"ordering"}\n',
        b'{"type":"RebuildProjection","service":"ordering"}\n',
        b'{"type":"RebuildProjection","service":"ordering","projection":"OrderHistory","force":true}\n',
    ],
)
async def test_what_the_host_does_not_understand_is_refused(tmp_path: Path, line: bytes) -> None:
    """Nothing is guessed: an unknown operation, a missing or an unknown field is told back."""
    host = Host()
    async with serve_operations(tmp_path, host.perform):
        (answer,) = await asyncio.to_thread(lambda: list(spoken(tmp_path / "admin.sock", line)))
    assert answer["type"] == "failed"
    assert "does it run another Colonnade?" in answer["reason"]
    assert host.asked == []


async def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    """A client cannot fill the host's memory."""
    async with serve_operations(tmp_path, Host().perform):
        (answer,) = await asyncio.to_thread(
            lambda: list(spoken(tmp_path / "admin.sock", b"x" * (LINE_LIMIT_BYTES + 2)))
        )
    assert answer == {"type": "failed", "reason": f"An operation has at most {LINE_LIMIT_BYTES} bytes."}


async def test_a_client_that_says_nothing_is_answered_nothing(tmp_path: Path) -> None:
    """A connection that closes without an operation is no event."""
    host = Host()
    async with serve_operations(tmp_path, host.perform):
        assert await asyncio.to_thread(lambda: list(spoken(tmp_path / "admin.sock", b""))) == []
    assert host.asked == []
