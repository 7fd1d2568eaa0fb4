"""A host with tenants: its directories, its operators, and what it says."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from typer.testing import CliRunner, Result

from colonnade.cli.program import app
from colonnade.persistence import DataDirectory
from colonnade.security.tenants import Tenant
from colonnade.system.admin.evidence import read_evidence, write_evidence
from colonnade.system.hosts.data_directory import UnusableDataDirectory, own_data_directory
from colonnade.system.hosts.embedded import EmbeddedHost, HostSettings
from colonnade.system.hosts.tenant_directories import own_tenant_directories, refuse_tenants
from tests.cli.conftest import ROOT, SECONDS, Host, started
from tests.tenancy.board import board
from tests.tenancy.houses import NOTE, WORLD

BOARD = "tests.tenancy.board:board"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the host of this module keeps its data."""
    return tmp_path_factory.mktemp("board")


@pytest.fixture(scope="module")
def host(data: Path) -> Iterator[Host]:
    """A host in a process of its own, with two tenants."""
    with started(data, "--tenant", "acme", "--tenant", "bolt:requests=1000", target=BOARD) as host:
        host.url = host.wait_until_ready()
        for tenant in ("acme", "bolt"):
            assert asked(host, f"notes/{NOTE}", tenant, {"text": f"{tenant} says"}) == (200, "")
        yield host


def asked(host: Host, target: str, tenant: str | None, body: object = None) -> tuple[int, object]:
    """The status and the JSON of an answer."""
    headers = {"content-type": "application/json"} | ({} if tenant is None else {"colonnade-tenant": tenant})
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(f"{host.url}/api/notes/{target}", data, headers), timeout=SECONDS) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def invoke(data: Path, *arguments: str) -> Result:
    """What a command printed, in this process."""
    return CliRunner(env={"COLONNADE_DATA": str(data), "COLUMNS": "200"}).invoke(app, arguments)


def test_a_host_serves_its_tenants(host: Host) -> None:
    """It tells who they are; each finds its own, and who does not say who he is nothing."""
    assert "tenants       acme, bolt" in host.banner
    for tenant in ("acme", "bolt"):
        while asked(host, "notes", tenant) == (200, []):
            pass
        assert asked(host, "notes", tenant) == (200, [f"{tenant} says"])
    assert asked(host, "notes", None)[0] == 400


def test_an_operator_names_the_tenant(host: Host, data: Path) -> None:
    """His commands read and do what they say for that tenant alone, while it runs."""
    listed = invoke(data, "events", "list", "--tenant", "acme", "--name", "notes.Pinned", "--json")
    events = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [event["data"]["text"] for event in events] == ["acme says"]
    asks = invoke(data, "projections", "list", "--tenant", "bolt", "--service", "notes", "--json")
    assert '"projection":"Notes"' in asks.stdout.replace(": ", ":")
    rebuilt = invoke(data, "projections", "rebuild", "notes", "Notes", "--tenant", "bolt")
    assert rebuilt.exit_code == 0, rebuilt.output
    unnamed = invoke(data, "events", "list")
    assert unnamed.exit_code == 1
    assert "holds the data of tenants; choose one of acme, bolt with --tenant." in unnamed.output
    for wrong in ("../acme", "ACME", "acme/../bolt", ""):
        assert invoke(data, "events", "list", "--tenant", wrong).exit_code == 2
    assert invoke(data, "events", "list", "--tenant", "carl").exit_code == 1


def test_lines_of_the_log_say_whose_they_are(tmp_path: Path) -> None:
    """Of each request it is told whose it was, where that is known."""
    with started(tmp_path, "--tenant", "acme", "--tenant", "bolt", target=BOARD) as host:
        host.url = host.wait_until_ready()
        assert asked(host, f"notes/{NOTE}", "acme", {"text": "x"})[0] == 200
        assert asked(host, "notes", "carl")[0] == 404
        assert host.stop() == 0
    lines = [json.loads(line) for line in host.log.splitlines()]
    requests = [(line.get("tenant"), line["status"]) for line in lines if line["event"] == "request"]
    assert requests == [("acme", 200), (None, 404)]


def test_data_of_nobody_and_data_of_tenants_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """A directory that was used without tenants is refused with them, and one of tenants without: each says why."""
    with started(tmp_path, target=BOARD) as host:
        host.wait_until_ready()
        assert host.stop() == 0
    with own_data_directory(tmp_path) as own, pytest.raises(UnusableDataDirectory, match="it holds data of no tenant"):
        own_tenant_directories(own, [Tenant("acme")]).__enter__()
    assert sorted(path.name for path in tmp_path.glob("tenants/*")) == []
    (tmp_path / "tenants").mkdir(exist_ok=True)
    refuse_tenants(tmp_path)  # nobody has anything there yet
    moved = tmp_path / "tenants" / "acme"
    moved.mkdir()
    for file in [*tmp_path.glob("*.sqlite3*")]:
        file.rename(moved / file.name)
    with own_tenant_directories(DataDirectory(tmp_path), [Tenant("acme")]) as owned:
        assert owned["acme"].path == moved
    with pytest.raises(UnusableDataDirectory, match="it holds data of the tenants acme; name them with --tenant"):
        refuse_tenants(tmp_path)


async def test_what_a_fleet_keeps_of_nobody_is_not_passed_over(tmp_path: Path) -> None:
    """A host with tenants does not begin where a fleet without them has said where its data is; that stays said."""
    with own_data_directory(tmp_path) as own:
        write_evidence(own, {"notes": "postgresql://there/board_notes"})
    settings = HostSettings(tmp_path, port=0, tenants=[Tenant("acme")])
    host = EmbeddedHost(board, settings, WORLD, ready=lambda _: None, stopping=lambda: None)
    with pytest.raises(UnusableDataDirectory, match="it holds data of no tenant"):
        await host.run()
    assert read_evidence(tmp_path) is not None


def test_what_is_wrong_with_a_tenant_is_a_mistake_in_the_command(tmp_path: Path) -> None:
    """Told before anything is begun; so are more than fifty."""
    wrong = invoke(tmp_path, "up", BOARD, "--tenant", "../acme")
    assert wrong.exit_code == 2
    assert "is no name of a tenant" in wrong.output
    many = [argument for number in range(51) for argument in ("--tenant", f"t{number}")]
    refused = invoke(tmp_path, "up", BOARD, *many)
    assert refused.exit_code == 2
    assert "up to 50 tenants by schema" in refused.output
    assert list(tmp_path.iterdir()) == []


def test_a_check_looks_at_the_data_of_each(host: Host, data: Path) -> None:
    """Sagas under way are looked for in the stores of all tenants."""
    assert invoke(data, "check", BOARD).exit_code == 0


def test_the_files_of_many_tenants_may_be_open(tmp_path: Path) -> None:
    """However few are allowed at first: fifty tenants of Grocer want more than the usual 1,024."""
    few = f"ulimit -Sn 60; exec {sys.executable} -m colonnade.cli up {BOARD} --port 0 --data {tmp_path}"
    tenants = " ".join(f"--tenant t{number}" for number in range(6))
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"{few} {tenants}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    host = Host(process)
    try:
        host.url = host.wait_until_ready()
        assert len([*Path(f"/proc/{process.pid}/fd").iterdir()]) > 60
        assert asked(host, f"notes/{NOTE}", "t5", {"text": "x"})[0] == 200
        assert host.stop() == 0
    finally:
        process.kill()
        process.communicate()
