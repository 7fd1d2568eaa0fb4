"""`colonnade projections`: how far read models are, and filling them anew."""

import asyncio
import shutil
import sys
from pathlib import Path

from tests.cli.conftest import BAKERY, ROOT, Command, Invoked, json_lines, requested, started
from tests.make.terminal import PATIENCE, on_a_terminal, read_until
from tests.projections.desk import Served, desk
from tests.projections.homes import in_folder
from tests.projections.test_poison import an_evening, held


def test_projections_are_listed_from_the_stores_when_nothing_runs(baked: Path, invoke: Invoked) -> None:
    """How far they had come, whatever the checkpoint says, and that nobody keeps them up."""
    (status,) = json_lines(invoke("projections", "list", "--json").stdout)
    assert (status["service"], status["projection"], status["running"]) == ("baking", "Batches", False)
    assert (status["position"], status["end"]) == (16, 16)
    header, row = invoke("projections", "list", "-s", "baking").stdout.splitlines()
    assert header.split() == ["service", "projection", "position", "log's", "end", "state"]
    assert row.split() == ["baking", "Batches", "16", "16", "not", "running,", "up", "to", "date"]
    assert invoke("projections", "list", "-s", "selling").stdout == "There are no projections.\n"
    assert invoke("projections", "list", "-s", "bakery").exit_code == 2


def test_what_is_left_to_do_and_what_is_left_out_is_told(tmp_path: Path, invoke: Invoked) -> None:
    """How many events it is behind, and the streams that are held with the remedy."""
    data = tmp_path / "data"
    data.mkdir()

    async def leave() -> None:
        async with desk(in_folder(data), held(LookupError("no"))) as d:
            await an_evening(d)
            await d.caught_up()
            await d.record("Tab/b", Served(5))

    asyncio.run(leave())
    listed = invoke("projections", "list").stdout
    assert "7 " in listed
    assert "not running, 1 event behind. One stream is held: Tab/a, at event 4: LookupError: no." in listed


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


def test_on_a_terminal_a_rebuild_shows_how_far_it_is(baked: Path) -> None:
    """As a bar to its end, and then the sentence that scripts get alone."""
    rebuild = ("projections", "rebuild", "baking", "Batches", "--data", str(baked), "--system", BAKERY)
    with on_a_terminal(sys.executable, "-m", "colonnade.cli", *rebuild, cwd=ROOT) as (process, terminal):
        shown = read_until(terminal, "is rebuilt up to event")
        assert process.wait(PATIENCE) == 0
    assert "Rebuilding Batches" in shown
    assert "16/16" in shown


def test_a_store_that_the_host_does_not_run_is_listed_as_nobodys(baked: Path, colonnade: Command) -> None:
    """It is left from a service of before; the others are told by the host all the same."""
    shutil.copy(baked / "baking.sqlite3", baked / "frying.sqlite3")
    with started(baked) as host:
        host.wait_until_ready()
        listed = json_lines(colonnade("projections", "list", "--json").stdout)
        assert [(each["service"], each["running"]) for each in listed] == [("baking", True), ("frying", False)]
        rebuilt = colonnade("projections", "rebuild", "frying", "Batches")
        assert (rebuilt.returncode, rebuilt.stderr) == (1, "There is no service frying; there are baking, selling.\n")
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
