"""`colonnade events`: reading what happened."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.cli.conftest import ROOT, Invoked, json_lines


def test_the_newest_events_are_listed(baked: Path, invoke: Invoked) -> None:
    """Of all services together, in the order of their times."""
    events = json_lines(invoke("events", "list", "--limit", "5", "--json").stdout)
    assert len(events) == 5
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    assert (events[-1]["name"], events[-1]["data"]) == ("colonnade.SagaEnded", {"end": "COMPENSATED", "by_hand": False})
    assert events[-1].keys() == {
        "service",
        "position",
        "stream",
        "version",
        "id",
        "name",
        "schema",
        "time",
        "correlation_id",
        "causation_id",
        "principal",
        "data",
    }


def test_events_are_chosen_by_name(baked: Path, invoke: Invoked) -> None:
    """However far behind the end they lie; names can be several."""
    shelves = json_lines(invoke("events", "list", "--name", "selling.ShelfStocked", "--json").stdout)
    assert [(event["service"], event["data"]["loaves"]) for event in shelves] == [("selling", 5), ("selling", 12)]
    both = invoke("events", "list", "-n", "selling.ShelfStocked", "-n", "baking.BreadBaked", "--json", "-l", "2")
    assert [event["name"] for event in json_lines(both.stdout)] == ["selling.ShelfStocked", "baking.BreadBaked"]


def test_events_are_paged_from_a_position(baked: Path, invoke: Invoked) -> None:
    """With --after they come oldest first, so that a script can read the whole log in pages."""
    after, positions = 0, []
    while page := json_lines(
        invoke("events", "list", "-s", "baking", "--after", str(after), "-l", "4", "--json").stdout
    ):
        positions += [event["position"] for event in page]
        after = positions[-1]
    assert positions == list(range(1, 17))


def test_events_are_chosen_by_stream(baked: Path, invoke: Invoked) -> None:
    """One stream, whole or behind a version."""
    (baked_event,) = json_lines(invoke("events", "list", "-n", "baking.BreadBaked", "-l", "1", "--json").stdout)
    stream = baked_event["stream"]
    assert json_lines(invoke("events", "list", "--stream", stream, "--json").stdout) == [baked_event]
    saga = f"SellBread/{baked_event['data']['batch_id']}"
    whole = json_lines(invoke("events", "list", "--stream", saga, "--json").stdout)
    rest = json_lines(invoke("events", "list", "--stream", saga, "-s", "baking", "--after", "2", "--json").stdout)
    assert [event["version"] for event in whole] == [1, 2, 3, 4, 5]
    assert rest == whole[2:]


def test_a_list_for_people_is_a_table(baked: Path, invoke: Invoked) -> None:
    """One line an event, under headings."""
    lines = invoke("events", "list", "-n", "baking.BreadBaked").stdout.splitlines()
    assert lines[0].split() == ["service", "position", "time", "stream", "version", "name", "data"]
    assert [line.split()[:2] for line in lines[1:]] == [["baking", "1"], ["baking", "6"], ["baking", "11"]]
    assert invoke("events", "list", "-n", "nothing.Such").stdout == "There are no such events.\n"


def test_one_event_is_shown_with_all_that_is_known(baked: Path, invoke: Invoked) -> None:
    """For people as well as for scripts."""
    shown = invoke("events", "show", "baking", "1")
    assert "baking.BreadBaked" in shown.stdout
    assert '"loaves": 5' in shown.stdout
    (event,) = json_lines(invoke("events", "show", "baking", "1", "--json").stdout)
    assert (event["version"], event["data"]["loaves"]) == (1, 5)


def test_what_is_not_there_is_told(baked: Path, invoke: Invoked, tmp_path: Path) -> None:
    """A missing event is a failure, a wrong name or a wrong use a mistake in the command."""
    missing = invoke("events", "show", "baking", "99")
    assert (missing.exit_code, missing.stderr) == (1, "The log of baking has no event 99.\n")
    unknown = invoke("events", "list", "-s", "bakery")
    assert unknown.exit_code == 2
    assert "There is no service 'bakery'; there are baking, selling." in unknown.stderr
    assert invoke("events", "list", "--after", "3").exit_code == 2
    assert invoke("events", "list", "--stream", "a", "--name", "b").exit_code == 2
    elsewhere = invoke("events", "list", "--data", str(tmp_path))
    assert elsewhere.exit_code == 1
    assert elsewhere.stderr == f"There are no stores in {tmp_path}; name the data directory of a system with --data.\n"


def test_a_damaged_store_is_told(baked: Path, invoke: Invoked) -> None:
    """The file is named, and nothing is written to it."""
    for file in baked.glob("selling.sqlite3*"):
        file.unlink()
    (baked / "selling.sqlite3").write_bytes(b"nonsense" * 1000)
    told = invoke("events", "list")
    assert told.exit_code == 1
    assert f"{baked / 'selling.sqlite3'} cannot be used as a store" in told.stderr


def test_a_database_of_somebody_else_beside_the_stores_is_passed_over(baked: Path, invoke: Invoked) -> None:
    """A provider may keep files of its own in the data directory."""
    with closing(sqlite3.connect(baked / "ledger.sqlite3")) as ledger:
        ledger.execute("CREATE TABLE charges (amount INTEGER)")
    assert invoke("events", "list", "-l", "1").exit_code == 0
    told = invoke("events", "list", "-s", "ledger")
    assert "There is no service 'ledger'; there are baking, selling." in told.stderr


def test_tail_shows_what_was_and_follows_until_it_is_interrupted(baked: Path) -> None:
    """What a host writes appears, and Ctrl-C is the way to end it: status 0."""
    import os
    import signal

    from tests.cli.conftest import requested, started

    command = [sys.executable, "-m", "colonnade.cli", "events", "tail", "-n", "baking.BreadBaked", "--lines", "2"]
    command += ["--json", "--data", str(baked)]
    with started(baked) as host:
        url = host.wait_until_ready()
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ) as tail:
            assert tail.stdout is not None
            assert [json.loads(tail.stdout.readline())["data"]["loaves"] for _ in range(2)] == [12, 60]
            requested(f"{url}/api/baking/batches", {"loaves": 33})
            assert json.loads(tail.stdout.readline())["data"]["loaves"] == 33
            tail.send_signal(signal.SIGINT)
            assert tail.wait(10) == 0
        assert host.stop() == 0
