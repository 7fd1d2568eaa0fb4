"""Ports of this machine's loopback."""

import errno
import os
import socket
from itertools import count

__all__ = ["free_port", "is_taken"]

_LOOPBACK = "127.0.0.1"

_FIRST, _PORTS = 12_000, 20_000
"""Below those that systems give to clients (32768 and up on Linux, 49152 on macOS). From among those, a client that
tries to reach a server while it is down is in the end given the server's own port, and is connected to itself."""

_STRIDE = 137
"""So many ports lie between the first of one process and that of the next one."""

_given = count()


def free_port() -> int:
    """A port that was free just now, and that this process has not been given before; ask as late as can be."""
    while True:
        port = _FIRST + (os.getpid() * _STRIDE + next(_given)) % _PORTS
        if not is_taken(port):
            return port


def is_taken(port: int) -> bool:
    """Whether somebody listens on `port`; connections that linger after a server was killed do not count."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False
