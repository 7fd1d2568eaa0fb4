"""Ports of this machine that nobody listens on."""

import socket

__all__ = ["free_port"]


def free_port() -> int:
    """A port that was free just now; ask as late as can be."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
