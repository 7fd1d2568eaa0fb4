"""Where a process listens, and the server that answers there."""

import asyncio
import errno
import os
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

__all__ = ["AddressUnusable", "Server", "bound", "url_of"]

GRACE_SECONDS = 10
"""How long requests may take to end once the process is told to stop."""

KEEP_ALIVE_SECONDS = 65
BACKLOG_CONNECTIONS = 2_048


class AddressUnusable(Exception):
    """The host cannot listen where it was told to."""

    def __init__(self, host: str, port: int, reason: str, remedy: str) -> None:
        super().__init__(host, port, reason, remedy)
        self.host, self.port, self.reason, self.remedy = host, port, reason, remedy

    def __str__(self) -> str:
        return f"Cannot listen on {self.host} port {self.port}: {self.reason}; {self.remedy}."


class Server(uvicorn.Server):
    """uvicorn, that leaves signals to the host and says when it answers."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave them alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there; raises `AddressUnusable`."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG_CONNECTIONS)
    except (socket.gaierror, UnicodeError):
        raise AddressUnusable(host, port, "the name is not known", "name an address of this machine") from None
    except OverflowError:
        raise AddressUnusable(host, port, "there is no such port", "choose one from 0 to 65535") from None
    except PermissionError:
        raise AddressUnusable(
            host, port, "this user may not listen there", "choose a port above 1023 with --port"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressUnusable(
                host, port, "another program listens there", "stop it, or choose another port with --port"
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise AddressUnusable(host, port, "the address is not one of this machine's", "name one that is") from None
        raise AddressUnusable(host, port, os.strerror(error.errno or 0).lower(), "name another address") from error
    with listener:
        listener.setblocking(False)
        yield listener


def url_of(host: str, listener: socket.socket) -> str:
    """How those on this machine reach it."""
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
