"""Ports for servers."""

import socket
from pathlib import Path

from colonnade.system.hosts.servers.ports import free_port, is_taken


def test_no_port_is_given_twice() -> None:
    """Two servers that are made before either is started do not meet."""
    given = [free_port() for _ in range(100)]
    assert len(set(given)) == len(given)


def test_no_client_is_given_a_servers_port() -> None:
    """Else a client that looks for a server while it is down could be connected to itself."""
    first_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(free_port() for _ in range(100)) < first_of_clients


def test_a_port_is_taken_while_somebody_listens() -> None:
    """And free again at once, though connections to it linger."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            accepted.close()
        assert is_taken(port)
    assert not is_taken(port)
