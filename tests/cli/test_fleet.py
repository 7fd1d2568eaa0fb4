"""`colonnade up --fleet`: a system as processes on real servers."""

import asyncio
import os
import re
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from colonnade.persistence.postgres import open_postgres_store
from colonnade.system.admin.evidence import read_evidence
from colonnade.system.hosts.servers.nats import NatsServer
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.system.hosts.servers.valkey import ValkeyServer
from colonnade.world import real_world
from tests.cli.conftest import BAKERY, ROOT, Command, Invoked, json_lines, lose, park, requested, started
from tests.make.terminal import CTRL_C, PATIENCE, on_a_terminal

pytestmark = pytest.mark.timeout(180)  # each starts and stops several processes, beside other tests


@pytest.fixture
def servers(postgres: PostgresServer, nats: NatsServer, valkey: ValkeyServer) -> list[str]:
    """The options that name servers which are there."""
    return ["--fleet", "--postgres", postgres.url(), "--nats", nats.url, "--valkey", valkey.url]


def family(pid: int) -> list[psutil.Process]:
    """The processes that a process has started, and they in turn."""
    found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return found


def test_each_change_is_a_line_where_there_is_no_terminal(tmp_path: Path, servers: list[str]) -> None:
    """The banner says where everything is; a signal ends all in order, the gateway first."""
    with started(tmp_path, *servers, "--replicas", "selling=2") as host:
        url = host.wait_until_ready()
        assert "bakery is up as a fleet.\n" in host.banner
        for name in ("baking", "selling-1", "selling-2", "gateway"):
            assert re.search(rf"^{name}: starting\n(.*\n)*{name}: ready \(process \d+\)$", host.banner, re.MULTILINE)
        assert requested(f"{url}/api/baking/batches", {"loaves": 12}).status == 201
        processes = family(host.process.pid)
        assert len(processes) == 4
        told = len(host.banner)
        assert host.stop(signal.SIGTERM) == 0
    assert not [each for each in processes if each.is_running()]
    ends = re.findall(r"^(\S+): stopped$", host.banner[told:], re.MULTILINE)
    assert ends[0] == "gateway"
    assert sorted(ends) == ["baking", "gateway", "selling-1", "selling-2"]


def test_instances_are_added_removed_and_replaced_by_commands(
    tmp_path: Path, colonnade: Command, servers: list[str]
) -> None:
    """Each says what it did; what cannot be done is said with the remedy."""
    with started(tmp_path / "data", *servers) as host:
        host.wait_until_ready()
        scaled = colonnade("scale", "baking=2")
        assert (scaled.returncode, scaled.stdout) == (0, "baking has 2 instances, it had 1.\n")
        assert len(family(host.process.pid)) == 4
        before = {each.pid for each in family(host.process.pid)}
        replaced = colonnade("replace", "selling", "--json")
        assert json_lines(replaced.stdout)[-1] == {
            "type": "finished", "summary": "All instances of selling are replaced.", "changed": 1
        }  # fmt: skip
        assert len({each.pid for each in family(host.process.pid)} - before) == 1
        assert colonnade("scale", "baking=1").returncode == 0
        assert len(family(host.process.pid)) == 3
        unknown = colonnade("scale", "washing=2")
        assert (unknown.returncode, unknown.stderr) == (1, "There is no service washing; there are baking, selling.\n")
        assert host.stop(signal.SIGTERM) == 0
    assert re.search(r"^baking-2: ready \(process \d+\)\n(.*\n)*baking-2: stopped$", host.banner, re.MULTILINE)


def test_what_is_in_the_stores_of_a_fleet_is_seen_and_mended(
    tmp_path: Path, invoke: Invoked, servers: list[str]
) -> None:
    """The same commands as for one process, on PostgreSQL, whether the fleet runs or not."""
    data = tmp_path / "data"
    with started(data, *servers) as host:
        url = host.wait_until_ready()
        batch = requested(f"{url}/api/baking/batches", {"loaves": 12}).json["id"]
        shown = json_lines(invoke("events", "list", "--service", "baking", "--json").stdout)
        assert f"Batch/{batch}" in {event["stream"] for event in shown}
        addresses = read_evidence(data)
        assert addresses is not None
        asyncio.run(lose(lambda: open_postgres_store(addresses["selling"], real_world())))
        (lost,) = json_lines(invoke("lost", "list", "--json").stdout)
        assert (lost["service"], lost["after"], lost["up_to"], lost["behind"]) == ("selling", 2, 4, 2)
        passed = invoke("lost", "pass-over", "selling", str(lost["row"]), "--yes")
        assert (passed.exit_code, "up to 4, is passed over by " in passed.stdout) == (0, True)
        assert invoke("lost", "list", "--json").stdout == ""
        waited: list[int] = []
        while len(waited) < 2:  # beside what was baked, by other tests too
            sold = json_lines(invoke("events", "list", "--service", "selling", "--json").stdout)
            waited = [event["data"]["loaves"] for event in sold if event["data"]["loaves"] != 12]
        assert waited == [5, 6]
        assert host.stop(signal.SIGTERM) == 0
    assert '"event":"lost messages passed over","service":"selling"' in (data / "fleet" / "selling.log").read_text()
    asyncio.run(park(lambda: open_postgres_store(addresses["baking"], real_world())))
    (parked,) = json_lines(invoke("dead-letters", "list", "--json").stdout)
    assert (parked["key"], parked["behind"]) == ("a", 2)
    retried = invoke("dead-letters", "retry", "baking", str(parked["row"]))
    assert (retried.exit_code, retried.stdout) == (0, "1 message put back in line.\n")
    assert invoke("dead-letters", "list", "--json").stdout == ""
    assert {each["service"] for each in json_lines(invoke("projections", "list", "--json").stdout)} == {"baking"}
    rebuilt = invoke("projections", "rebuild", "baking", "Anything")
    assert (rebuilt.exit_code, "give the projection a new version" in rebuilt.output) == (1, True)
    with started(data) as host:
        host.wait_until_ready()
        assert host.stop() == 0
    assert read_evidence(data) is None


def test_what_is_no_fleet_is_not_scaled(tmp_path: Path, invoke: Invoked) -> None:
    """It says where none runs, that one process has no instances, and which numbers there are."""
    nowhere = invoke("scale", "baking=2")
    assert nowhere.exit_code == 1
    assert f"No fleet runs on {tmp_path / 'data'}; name its data directory with --data" in nowhere.output
    assert invoke("replace").exit_code == 1
    for wrong in ("baking", "baking=none", "baking=0", "baking=65", "=2"):
        refused = invoke("scale", wrong)
        assert refused.exit_code == 2
        assert "from 1 to 64, like ordering=3" in " ".join(refused.output.replace("│", " ").split())
    with started(tmp_path / "data") as host:
        host.wait_until_ready()
        embedded = invoke("scale", "baking=2")
        assert embedded.exit_code == 1
        assert "This system runs in one process; a fleet has instances: colonnade up SYSTEM --fleet." in embedded.output
        assert host.stop() == 0


def test_a_host_that_is_killed_takes_all_along(tmp_path: Path, servers: list[str]) -> None:
    """Nothing is left behind: the port is free, and the next fleet begins."""
    with started(tmp_path, *servers) as host:
        url = host.wait_until_ready()
        processes = family(host.process.pid)
        assert len(processes) == 3
        assert host.stop(signal.SIGKILL) == -signal.SIGKILL
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert alive == []
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))):
        pass


def test_a_terminal_shows_one_table(tmp_path: Path, colonnade: Command, servers: list[str]) -> None:
    """Each process with its state, CPU, memory and the words of its last log line, what the host logs above them."""
    command = [sys.executable, "-m", "colonnade.cli", "up", BAKERY, "--port", "0", "--data", str(tmp_path), *servers]
    with on_a_terminal(*command, cwd=ROOT) as (host, terminal):
        shown = ""
        ready = re.compile(r"baking\s+ready\s+\d+ %\s+\d+ MB.*\n(?:.*\n)*?gateway\s+ready\s+\d+ %\s+\d+ MB")
        while not (found := ready.search(plain(shown))):
            shown += os.read(terminal, 4096).decode()
        rows = plain(shown)[: found.end()].splitlines()
        assert any(re.match(r"process\s+state\s+restarts\s+CPU\s+memory\s+log", row) for row in rows)
        assert any(re.match(r"baking\s+ready\s+\d+ %\s+\d+ MB\s+(info|warning) [a-z]", row) for row in rows)
        above = re.compile(r"^\d\d:\d\d:\d\d\.\d+ info +operation done .*\n(?:.*\n)*baking-2 +ready", re.MULTILINE)
        with ThreadPoolExecutor(1) as beside:  # as a terminal that nobody reads stops who writes to it
            scaled = beside.submit(colonnade, "scale", "baking=2", "--data", str(tmp_path))
            while not above.search(plain(shown)):
                shown += os.read(terminal, 4096).decode()
            assert scaled.result().returncode == 0
        processes = family(host.pid)
        os.write(terminal, CTRL_C)
        while "is stopping" not in shown:
            shown += os.read(terminal, 4096).decode()
        while host.poll() is None:  # it must not wait for a terminal that nobody reads
            try:
                os.read(terminal, 4096)
            except OSError:
                break
        assert host.wait(PATIENCE) == 0
        assert not [each for each in processes if each.is_running()]


def plain(shown: str) -> str:
    """What a terminal shows, without the codes that colour it and move about."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n")


def test_a_port_that_is_taken_is_told_before_anything_starts(
    tmp_path: Path, colonnade: Command, servers: list[str]
) -> None:
    """With the port and the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = colonnade("up", BAKERY, "--port", str(taken.getsockname()[1]), *servers)
    assert refused.returncode == 1
    assert "another program listens there; stop it, or choose another port with --port" in refused.stderr
    assert refused.stdout == ""


def test_a_server_behind_no_pooler_is_refused(tmp_path: Path, colonnade: Command) -> None:
    """The address of the server behind a pooler says nothing without that of the pooler."""
    refused = colonnade("up", BAKERY, "--fleet", "--postgres-direct", "postgresql://db")
    assert refused.returncode == 2
    assert "name that with --postgres" in refused.stderr


def test_a_process_that_does_not_start_shows_its_log(tmp_path: Path, colonnade: Command, servers: list[str]) -> None:
    """The host ends with what the process said, and leaves nothing."""
    module = tmp_path / "broken.py"
    module.write_text(
        "import sys\n"
        "from tests.example.bakery.system import bakery\n"
        "if 'colonnade.cli.process' in sys.modules or sys.argv[0].endswith('process.py'):\n"
        "    raise RuntimeError('the oven is cold')\n"
    )
    refused = colonnade("up", "broken:bakery", "--port", "0", *servers, PYTHONPATH=_path(tmp_path))
    assert refused.returncode == 1
    assert "it ended before it was ready, with exit code 1; its log ends with:" in refused.stderr
    assert "RuntimeError: the oven is cold" in refused.stderr
    lines = [line for line in refused.stdout.splitlines() if line.endswith(": stopped")]
    assert len(lines) >= 2


@pytest.mark.parametrize(
    ("broker", "missing"),
    [
        ("rabbitmq", "epmd is not installed: make servers, or apt-get install rabbitmq-server."),
        ("kafka", "java is not installed: make servers, or apt-get install default-jre-headless."),
    ],
)
def test_a_broker_that_is_not_installed_is_told_before_anything_starts(
    colonnade: Command, broker: str, missing: str
) -> None:
    """With what to install."""
    refused = colonnade("up", BAKERY, "--port", "0", "--fleet", "--broker", broker, PATH="")
    assert refused.returncode == 1
    assert f"cannot be started here, as {missing}" in " ".join(refused.stderr.split())
    assert refused.stdout == ""


def _path(first: Path) -> str:
    return os.pathsep.join([str(first), str(ROOT), os.environ.get("PYTHONPATH", "")])
