"""Ports of this machine's loopback."""

import errno
import socket

__all__ = ["free_port", "is_taken"]

_LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that was free just now; ask as late as can be."""
    with socket.socket() as listener:
        listener.bind((_LOOPBACK, 0))
        port: int = listener.getsockname()[1]
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
