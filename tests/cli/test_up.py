"""`colonnade up`: a system in one process."""

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import BAKERY, Command, requested, started


def test_a_system_runs_and_says_what_is_where(tmp_path: Path) -> None:
    """Its services answer at the addresses of the banner, under one health."""
    data = tmp_path / "data"
    with started(data) as host:
        url = host.wait_until_ready()
        assert f"baking        {url}/api/baking/" in host.banner
        assert f"data          {data}" in host.banner
        assert "stop          Ctrl-C" in host.banner
        made = requested(f"{url}/api/baking/batches", {"loaves": 12})
        assert (made.status, made.json.keys()) == (201, {"id"})
        ready = requested(f"{url}/health/ready")
        assert (ready.status, ready.json) == (200, {"status": "ok", "phase": "serving", "states": []})
        assert host.stop() == 0
    lines = [json.loads(line) for line in host.log.splitlines()]
    (request,) = [line for line in lines if line["event"] == "request"]
    assert (request["method"], request["path"], request["status"]) == ("POST", "/api/baking/batches", 201)
    assert {"time", "level", "milliseconds", "correlation_id"} <= request.keys()
    assert [line["event"] for line in lines if line["event"] != "request"] == ["ready", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_and_nothing_is_left(tmp_path: Path, number: signal.Signals) -> None:
    """Exit status 0, no socket, no lock held, no port taken."""
    with started(tmp_path) as host:
        url = host.wait_until_ready()
        assert host.stop(number) == 0
    assert host.banner.endswith("bakery is stopping; Ctrl-C again to leave at once.\n")
    assert not (tmp_path / "admin.sock").exists()
    port = int(url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """After kill -9 the next host has everything, and what was under way goes on."""
    with started(tmp_path) as host:
        url = host.wait_until_ready()
        made = [requested(f"{url}/api/baking/batches", {"loaves": loaves}) for loaves in (5, 6, 7)]
        assert host.stop(signal.SIGKILL) == -signal.SIGKILL
    with started(tmp_path) as host:
        url = host.wait_until_ready()
        read = [requested(f"{url}/api/baking/batches/{batch.json['id']}", token=batch.token) for batch in made]
        assert host.stop() == 0
    assert [(batch.status, batch.json["loaves"]) for batch in read] == [(200, 5), (200, 6), (200, 7)]


def test_a_second_host_on_the_same_data_is_refused(tmp_path: Path, colonnade: Command) -> None:
    """It says which process owns the data, and leaves that one alone."""
    with started(tmp_path / "data") as host:
        url = host.wait_until_ready()
        second = colonnade("up", BAKERY, "--port", "0")
        assert (second.returncode, second.stdout) == (1, "")
        assert second.stderr == (
            f"{tmp_path / 'data'} is in use by process {host.process.pid}; "
            "stop it first, or name another data directory.\n"
        )
        assert requested(f"{url}/health/live").status == 200


def test_a_port_that_is_taken_is_told(tmp_path: Path, colonnade: Command) -> None:
    """The error names the port and the remedy, and no store is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = colonnade("up", BAKERY, "--port", str(port))
    assert refused.returncode == 1
    assert refused.stderr == (
        f"Cannot listen on 127.0.0.1 port {port}: another program listens there; "
        "stop it, or choose another port with --port.\n"
    )
    assert not list((tmp_path / "data").glob("*.sqlite3"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--host", "no.such.host.invalid"), "the name is not known; name an address of this machine"),
        (("--host", "192.0.2.1"), "the address is not one of this machine's; name one that is"),
        (("--port", "70000"), "there is no such port; choose one from 0 to 65535"),
    ],
)
def test_an_address_that_cannot_be_is_told(colonnade: Command, options: tuple[str, ...], reason: str) -> None:
    """Each reason has its own sentence."""
    refused = colonnade("up", BAKERY, *options)
    assert refused.returncode == 1
    assert reason in refused.stderr


def test_a_wrong_setting_of_the_log_is_told(colonnade: Command) -> None:
    """The environment is read once, before anything is started."""
    refused = colonnade("up", BAKERY, COLONNADE_LOG_LEVEL="loud")
    assert refused.returncode == 1
    assert refused.stderr.startswith("COLONNADE_LOG_LEVEL is 'loud'; set it to one of debug, info, warning, error")


def test_a_store_that_is_none_is_told(tmp_path: Path, colonnade: Command) -> None:
    """A damaged file is named, and not touched."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "baking.sqlite3").write_bytes(b"this is no database" * 500)
    refused = colonnade("up", BAKERY, "--port", "0")
    assert refused.returncode == 1
    assert f"{data / 'baking.sqlite3'} cannot be used as a store" in refused.stderr
    assert (data / "baking.sqlite3").read_bytes() == b"this is no database" * 500


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    """Whoever cannot wait for the last request need not: what was acknowledged is durable anyway."""
    with started(tmp_path, target="tests.example.waiting:waiting") as host:
        url = host.wait_until_ready()
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.sendall(b"GET /api/waiting/wait HTTP/1.1\r\nhost: a\r\n\r\n")
            host.process.send_signal(signal.SIGINT)
            assert host.process.stdout is not None
            assert "is stopping" in host.process.stdout.readline()
            while host.process.poll() is None:
                # The first ones may still count as echoes of the first
                host.process.send_signal(signal.SIGINT)
                try:
                    host.process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
        assert host.process.returncode == 130


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--postgres-replica", "postgresql://b"), "--postgres-replica: for a fleet only; add --fleet"),
        (("--fleet", "--postgres-replica", "postgresql://b"), "name that by --postgres"),
        (("--replicas", "baking=2"), "--replicas: for a fleet only; add --fleet"),
        (("--nats", "nats://127.0.0.1:4222"), "--nats: for a fleet only; add --fleet"),
        (
            ("--broker", "kafka", "--kafka", "127.0.0.1:9092"),
            "--broker, --kafka: for a fleet only; add --fleet",
        ),
        (("--fleet", "--broker", "smoke"), "'smoke' is not one of 'nats', 'rabbitmq', 'kafka'"),
        (("--fleet", "--broker", "kafka", "--nats", "nats://127.0.0.1:4222"), "--nats contradicts --broker kafka"),
        (
            ("--fleet", "--rabbitmq", "amqp://127.0.0.1/", "--kafka", "127.0.0.1:9092"),
            "--rabbitmq and --kafka name two brokers; a fleet has one",
        ),
        (("--fleet", "--rabbitmq", "127.0.0.1:5672"), "is no URL of a RabbitMQ; give one such as amqp://"),
        (("--fleet", "--kafka", "127.0.0.1"), "is no address of a Kafka; give HOST:PORT"),
        (("--fleet", "--kafka", "kafka://127.0.0.1:9092"), "is no address of a Kafka; give HOST:PORT"),
        (("--fleet", "--replicas", "brewing=2"), "there is no service 'brewing'"),
        (("--fleet", "--replicas", "baking"), "give a number from 1 to 64"),
        (("--fleet", "--replicas", "baking=0"), "give a number from 1 to 64"),
        (("--fleet", "--replicas", "baking=many"), "give a number from 1 to 64"),
    ],
)
def test_a_wrong_option_of_a_fleet_is_told(
    tmp_path: Path, colonnade: Command, options: tuple[str, ...], reason: str
) -> None:
    """As a mistake in the command, before anything is started."""
    refused = colonnade("up", BAKERY, *options)
    assert refused.returncode == 2
    assert reason in " ".join(refused.stderr.replace("│", " ").split())
    assert not (tmp_path / "data").exists()
