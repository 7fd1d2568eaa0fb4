"""`colonnade projections`: how far read models are, and filling them anew."""

from pathlib import Path

from tests.cli.conftest import BAKERY, Command, Invoked, json_lines, requested, started


def test_projections_are_listed_from_the_stores_when_nothing_runs(baked: Path, invoke: Invoked) -> None:
    """How far they had come, and that nobody keeps them up."""
    (status,) = json_lines(invoke("projections", "list", "--json").stdout)
    assert (status["service"], status["projection"], status["running"]) == ("baking", "Batches", False)
    assert status["position"] == 11
    assert status["end"] == 16
    header, row = invoke("projections", "list", "-s", "baking").stdout.splitlines()
    assert header.split() == ["service", "projection", "position", "log's", "end", "state"]
    assert row.split() == ["baking", "Batches", "11", "16", "not", "running"]
    assert invoke("projections", "list", "-s", "selling").stdout == "There are no projections.\n"
    assert invoke("projections", "list", "-s", "bakery").exit_code == 2


def test_a_running_host_lists_and_rebuilds(baked: Path, colonnade: Command) -> None:
    """Readers see the same rows before and after."""
    with started(baked) as host:
        url = host.wait_until_ready()
        made = requested(f"{url}/api/baking/batches", {"loaves": 7})
        rebuilt = colonnade("projections", "rebuild", "baking", "Batches")
        assert (rebuilt.returncode, rebuilt.stdout[:22]) == (0, "Batches is rebuilt up ")
        read = requested(f"{url}/api/baking/batches/{made.json['id']}", token=made.token)
        assert read.json == {"batch_id": made.json["id"], "loaves": 7}
        state = "behind"
        while "up to date" not in state:
            state = colonnade("projections", "list").stdout
        unknown = colonnade("projections", "rebuild", "baking", "Bathces")
        assert (unknown.returncode, unknown.stderr) == (
            1,
            "baking has no projection Bathces; its projections are: Batches.\n",
        )
        assert host.stop() == 0


def test_a_rebuild_without_a_host_needs_the_code(baked: Path, colonnade: Command) -> None:
    """It is named on the command line, and the progress is told line by line to scripts."""
    without = colonnade("projections", "rebuild", "baking", "Batches")
    assert without.returncode == 1
    assert without.stderr.endswith("name its code with --system MODULE:ATTRIBUTE.\n")
    rebuilt = colonnade("projections", "rebuild", "baking", "Batches", "--system", BAKERY, "--json")
    *progress, finished = json_lines(rebuilt.stdout)
    assert rebuilt.returncode == 0
    assert finished["type"] == "finished"
    assert [report["type"] for report in progress] == ["progress"] * len(progress)
    assert progress[-1]["done"] == progress[-1]["total"]
