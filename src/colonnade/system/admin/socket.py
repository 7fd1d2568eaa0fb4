"""The admin socket: a Unix socket in the data directory, which only the owner of the process may open.

A client writes one line of JSON, the operation; the host answers with lines of JSON, the reports, and closes. An
operation whose client goes away is cancelled.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from colonnade.messages.undecodable import UNDECODABLE
from colonnade.observability.logs import get_logger
from colonnade.system.admin.operations import Operation, OperationFailed
from colonnade.system.admin.reports import Failed, Progress, Report

__all__ = ["AdminSocketTaken", "HostNotRunning", "ask_host", "serve_operations"]

SOCKET_FILE = "admin.sock"
LINE_LIMIT_BYTES = 1024 * 1024
LONGEST_ADDRESS_BYTES = 100
"""The kernel takes 108 on Linux, 104 elsewhere, one of them a zero."""

_log = get_logger()
_encode = msgspec.json.Encoder().encode
_decode_operation = msgspec.json.Decoder(Operation).decode
_decode_report = msgspec.json.Decoder(Report).decode

Perform = Callable[[Operation], AsyncGenerator[Report, None]]
"""Carries an operation out and tells about it; raises `OperationFailed`."""


class HostNotRunning(Exception):
    """No host listens in the data directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.directory = directory

    def __str__(self) -> str:
        return f"No system runs on {self.directory}; start it with colonnade up."


class AdminSocketTaken(Exception):
    """Something that is no socket is in the place of the admin socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path} is not a socket, so it is not replaced; move it away."


@asynccontextmanager
async def serve_operations(directory: Path, perform: Perform) -> AsyncIterator[None]:
    """Carry out what comes through the admin socket of `directory` while the block runs.

    The caller owns the directory, so that a socket which is there already is a dead process's and is replaced.
    Raises `AdminSocketTaken`.
    """
    path = directory / SOCKET_FILE
    listener = _listen(path)
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_Connection(reader, writer, perform).serve())
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_unix_server(connected, sock=listener, limit=LINE_LIMIT_BYTES)
    try:
        yield
    finally:
        server.close()
        for task in connections:
            task.cancel()
        if connections:
            await asyncio.wait(connections)
        path.unlink(missing_ok=True)


def ask_host(directory: Path, operation: Operation) -> Iterator[Report]:
    """Let the host that runs on `directory` carry `operation` out; raises `HostNotRunning`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with _address(directory.absolute() / SOCKET_FILE) as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise HostNotRunning(directory) from None
        try:
            connection.sendall(_encode(operation) + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    report = _decode_report(line)
                    yield report
                    if not isinstance(report, Progress):
                        return
        except (ConnectionError, msgspec.DecodeError):
            yield Failed("The host died before it told how the operation ended; look whether it was done.")
            return
        yield Failed("The host stopped before the operation was done.")


class _Connection:
    """One client with its one operation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, perform: Perform) -> None:
        self._reader = reader
        self._writer = writer
        self._perform = perform

    async def serve(self) -> None:
        try:
            line = await self._reader.readline()
            if line:
                await self._answer(line)
        except ConnectionError:
            _log.warning("admin client went away")
        except ValueError as error:  # a line above the limit
            _log.warning("admin operation refused", reason=str(error))
            self._writer.write(_encode(Failed(f"An operation has at most {LINE_LIMIT_BYTES} bytes.")) + b"\n")
        finally:
            self._writer.close()

    async def _answer(self, line: bytes) -> None:
        try:
            operation = _decode_operation(line)
        except UNDECODABLE as error:
            await self._tell(Failed(f"The host does not understand this; does it run another Colonnade? ({error})"))
            return
        log = _log.bind(operation=type(operation).__name__, service=operation.service)
        try:
            # Closed at once when the client is gone, so that the operation does not go on unseen
            async with aclosing(self._perform(operation)) as reports:
                async for report in reports:
                    await self._tell(report)
        except OperationFailed as error:
            log.warning("operation failed", reason=str(error))
            await self._tell(Failed(str(error)))
        except ConnectionError:
            raise
        except Exception as error:
            log.error("operation failed", exc_info=error)
            await self._tell(Failed(f"{type(error).__name__}: {error}"))
        else:
            log.info("operation done")

    async def _tell(self, report: Report) -> None:
        self._writer.write(_encode(report) + b"\n")
        await self._writer.drain()


def _listen(path: Path) -> socket.socket:
    if path.is_socket():
        path.unlink()
    elif path.exists():
        raise AdminSocketTaken(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            listener.bind(address)
        # Nobody can connect before `listen`
        path.chmod(0o600)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """A name of the socket that is short enough for the kernel: a deep directory is reached through a link."""
    if len(os.fsencode(path)) <= LONGEST_ADDRESS_BYTES:
        yield str(path)
        return
    with TemporaryDirectory(prefix="colonnade-") as short:
        link = Path(short) / "data"
        link.symlink_to(path.parent, target_is_directory=True)
        yield str(link / path.name)
