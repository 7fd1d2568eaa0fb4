"""`colonnade lost`: messages that no producer has any more."""

from pathlib import Path

from tests.cli.conftest import LOST, Command, Invoked, json_lines, started


def test_what_is_lost_is_listed_with_its_chain_and_what_waits(holed: Path, invoke: Invoked) -> None:
    """Everything that is needed to look for it in a backup, or to decide to go on without it."""
    (loss,) = json_lines(invoke("lost", "list", "--json").stdout)
    assert (loss.pop("since")[:2], loss) == ("20", {
        "service": "selling", "row": 1, "source": "baking", "history": str(LOST.history), "topic": "selling.commands",
        "partition": 0, "after": 2, "up_to": 4, "cause": "its producer has deleted it", "behind": 2,
        "passed_at": None, "passed_by": None,
    })  # fmt: skip
    header, row = invoke("lost", "list").stdout.splitlines()
    assert header.split() == [
        "service", "row", "source", "history", "topic", "partition", "after", "up", "to", "since", "behind", "cause"
    ]  # fmt: skip
    assert row.split()[:8] == ["selling", "1", "baking", str(LOST.history), "selling.commands", "0", "2", "4"]
    assert invoke("lost", "list", "--passed").stdout == "Nothing was passed over.\n"


def test_what_is_lost_is_passed_over_only_after_a_yes(holed: Path, invoke: Invoked) -> None:
    """While no host runs, the command acts on the stores themselves; who did it and when is kept."""
    asked = invoke("lost", "pass-over", "selling", "1", stdin="n\n")
    assert (asked.exit_code, len(json_lines(invoke("lost", "list", "--json").stdout))) == (1, 1)
    passed = invoke("lost", "pass-over", "selling", "1", "--yes")
    assert passed.exit_code == 0
    assert "What baking on selling.commands/0 had after 2, up to 4, is passed over by " in passed.stdout
    assert invoke("lost", "list").stdout == "Nothing is lost.\n"
    (kept,) = json_lines(invoke("lost", "list", "--passed", "--json").stdout)
    assert passed.stdout.endswith(f"is passed over by {kept['passed_by']}.\n")
    assert kept["passed_at"] > kept["since"]
    again = invoke("lost", "pass-over", "selling", "1", "--yes")
    assert (again.exit_code, again.stderr.startswith("Row 1 of selling was passed over by ")) == (1, True)
    unknown = invoke("lost", "pass-over", "selling", "7", "--yes")
    assert unknown.stderr == "selling has noted nothing as lost in row 7; see colonnade lost list.\n"


def test_a_running_host_goes_on_behind_what_was_passed_over(holed: Path, colonnade: Command) -> None:
    """In order, and its log tells who has passed what over."""
    with started(holed) as host:
        host.wait_until_ready()
        assert colonnade("events", "list", "-s", "selling", "--json").stdout == ""
        passed = colonnade("lost", "pass-over", "selling", "1", "--yes")
        assert (passed.returncode, passed.stderr) == (0, "")
        loaves: list[int] = []
        while len(loaves) < 2:
            events = colonnade("events", "list", "-s", "selling", "--json").stdout
            loaves = [event["data"]["loaves"] for event in json_lines(events)]
        (kept,) = json_lines(colonnade("lost", "list", "--passed", "--json").stdout)
        assert host.stop() == 0
    assert loaves == [5, 6]
    (line,) = [line for line in json_lines(host.log) if line["event"] == "lost messages passed over"]
    assert (line["service"], line["by"], line["source"]) == ("selling", kept["passed_by"], "baking")
    assert (line["topic"], line["partition"], line["after"], line["up_to"]) == ("selling.commands", 0, 2, 4)
