"""`colonnade dead-letters`: messages that failed for good."""

import asyncio
import json
from base64 import b64decode
from pathlib import Path

from colonnade.cli.dead_letters import PAGE_ROWS
from colonnade.persistence.sqlite import open_sqlite_store
from colonnade.persistence.store import DueMessage
from colonnade.persistence.unit import Effect, KeepAside, Unit
from colonnade.system.hosts.data_directory import own_data_directory
from colonnade.world import real_world
from tests.cli.conftest import Command, Invoked, json_lines, started


def due(data: Path) -> list[DueMessage]:
    """What a worker would take now."""

    async def read() -> list[DueMessage]:
        store = await open_sqlite_store(data / "baking.sqlite3", real_world(), read_only=True)
        try:
            return await store.inbox.due(real_world().clock.micros(), 10)
        finally:
            await store.close()

    return asyncio.run(read())


def test_a_parked_message_is_listed_with_its_cause_and_what_waits(parked: Path, invoke: Invoked) -> None:
    """Everything that is needed to decide what to do."""
    (letter,) = json_lines(invoke("dead-letters", "list", "--json").stdout)
    assert (letter["service"], letter["row"], letter["consumer"], letter["key"]) == ("baking", 1, "handlers", "a")
    assert (letter["attempts"], letter["cause"], letter["held"], letter["behind"]) == (
        20,
        "OvenCold: the oven is cold",
        True,
        2,
    )
    assert letter["envelope"]["data"] == {"loaves": 1}
    header, row = invoke("dead-letters", "list").stdout.splitlines()
    assert header.split() == ["service", "row", "consumer", "key", "message", "attempts", "parked", "behind", "cause"]
    assert row.split()[:6] == ["baking", "1", "handlers", "a", "baking.Bake", "20"]
    assert invoke("dead-letters", "list", "--key", "b").stdout == "No message is parked.\n"
    assert invoke("dead-letters", "list", "--malformed").stdout == "Nothing malformed was received.\n"


def test_bytes_that_are_no_message_are_listed_with_their_origin_and_the_reason(baked: Path, invoke: Invoked) -> None:
    """More than fit a page; for people what cannot be printed is spelled out, for scripts it is whole."""
    data = b"\xff\x1b[31m" + b"x" * 60

    async def receive(count: int) -> None:
        world = real_world()
        store = await open_sqlite_store(baked / "selling.sqlite3", world)
        kept: list[Effect] = [KeepAside(f"elsewhere/{number}", "It is no message.", data) for number in range(count)]
        await store.commit(Unit(world.clock.micros(), world.ids.new(), effects=kept))
        await store.close()

    asyncio.run(receive(PAGE_ROWS + 1))
    listed = json_lines(invoke("dead-letters", "list", "--malformed", "--json").stdout)
    assert [each["origin"] for each in listed] == [f"elsewhere/{number}" for number in range(PAGE_ROWS + 1)]
    assert (listed[0]["service"], listed[0]["reason"]) == ("selling", "It is no message.")
    assert b64decode(listed[0]["data"]) == data
    header, first, *_ = invoke("dead-letters", "list", "--malformed", "-s", "selling").stdout.splitlines()
    assert header.split() == ["service", "row", "received", "origin", "reason", "data"]
    assert "elsewhere/0" in first
    assert "\x1b" not in first
    assert "\\xff\\x1b[31mxxx" in first
    assert invoke("dead-letters", "list", "--malformed", "-s", "baking").stdout == "Nothing malformed was received.\n"


def test_a_parked_message_is_shown_whole(parked: Path, invoke: Invoked) -> None:
    """With its envelope."""
    shown = invoke("dead-letters", "show", "baking", "1").stdout
    assert "OvenCold: the oven is cold" in shown
    assert '"type": "baking.Bake"' in shown
    (letter,) = json_lines(invoke("dead-letters", "show", "baking", "1", "--json").stdout)
    assert letter["envelope"]["subject"] == "a"
    missing = invoke("dead-letters", "show", "baking", "2")
    assert (missing.exit_code, missing.stderr) == (1, "Message 2 of baking is not parked.\n")


def test_a_retried_message_is_first_in_its_line_again(parked: Path, invoke: Invoked) -> None:
    """While no host runs, the command acts on the store itself."""
    assert due(parked) == []
    retried = invoke("dead-letters", "retry", "baking", "1")
    assert (retried.exit_code, retried.stdout) == (0, "1 message put back in line.\n")
    (first,) = due(parked)
    assert (first.row, first.attempts) == (1, 0)
    again = invoke("dead-letters", "retry", "baking", "1")
    assert (again.exit_code, again.stderr) == (1, "Message 1 is not parked; list the dead letters again.\n")


def test_messages_are_retried_by_key_or_all_together(parked: Path, invoke: Invoked) -> None:
    """A filter that fits nothing changes nothing; --json tells a script how many it was."""
    nothing = invoke("dead-letters", "retry", "baking", "--key", "b", "--consumer", "handlers")
    assert nothing.stdout == "0 messages put back in line.\n"
    *_, finished = json_lines(invoke("dead-letters", "retry", "baking", "--all", "--json").stdout)
    assert finished == {"type": "finished", "summary": "1 message put back in line.", "changed": 1}
    assert [message.row for message in due(parked)] == [1]


def test_a_message_can_be_mended_before_it_is_retried(parked: Path, invoke: Invoked, tmp_path: Path) -> None:
    """Its data is replaced, the rest of its envelope stays."""
    mended = tmp_path / "mended.json"
    mended.write_text('{"loaves": 9}\n')
    before = json_lines(invoke("dead-letters", "show", "baking", "1", "--json").stdout)[0]["envelope"]
    assert invoke("dead-letters", "retry", "baking", "1", "--edit", str(mended)).exit_code == 0
    assert json.loads(due(parked)[0].envelope) == before | {"data": {"loaves": 9}}


def test_what_is_no_json_mends_nothing(parked: Path, invoke: Invoked, tmp_path: Path) -> None:
    """The file is named, and the message stays parked."""
    broken = tmp_path / "broken.json"
    broken.write_text('{"loaves": ')
    told = invoke("dead-letters", "retry", "baking", "1", "--edit", str(broken))
    assert told.exit_code == 2
    assert "holds no JSON" in told.stderr
    assert due(parked) == []
    assert invoke("dead-letters", "retry", "baking", "--all", "--edit", str(broken)).exit_code == 2


def test_what_to_retry_is_said_in_one_way(parked: Path, invoke: Invoked) -> None:
    """Neither nothing nor two things that may contradict each other."""
    assert invoke("dead-letters", "retry", "baking").exit_code == 2
    assert invoke("dead-letters", "retry", "baking", "1", "--all").exit_code == 2
    unknown = invoke("dead-letters", "retry", "bakery", "1")
    assert (unknown.exit_code, unknown.stderr) == (1, "There is no service bakery; there are baking.\n")


def test_a_discarded_message_is_gone_and_its_line_goes_on(parked: Path, invoke: Invoked) -> None:
    """Only after a yes, asked or given."""
    refused = invoke("dead-letters", "discard", "baking", "1", stdin="n\n")
    assert refused.exit_code == 1
    assert due(parked) == []
    discarded = invoke("dead-letters", "discard", "baking", "1", "--yes")
    assert (discarded.exit_code, discarded.stdout) == (0, "1 message discarded.\n")
    assert [json.loads(message.envelope)["data"] for message in due(parked)] == [{"loaves": 2}]
    assert invoke("dead-letters", "list").stdout == "No message is parked.\n"


def test_nothing_is_done_while_another_process_owns_the_data(parked: Path, invoke: Invoked) -> None:
    """Without an admin socket to go through, the lock decides."""
    with own_data_directory(parked):
        told = invoke("dead-letters", "retry", "baking", "1")
    assert told.exit_code == 1
    assert "is in use by process" in told.stderr


def test_a_running_host_is_told_and_finishes_the_line_in_order(parked: Path, colonnade: Command) -> None:
    """A retry goes through the host, which handles the message and all that waited behind it."""
    with started(parked) as host:
        host.wait_until_ready()
        assert [letter["row"] for letter in json_lines(colonnade("dead-letters", "list", "--json").stdout)] == [1]
        retried = colonnade("dead-letters", "retry", "baking", "--all")
        assert (retried.returncode, retried.stdout) == (0, "1 message put back in line.\n")
        loaves: list[int] = []
        while len(loaves) < 3:
            events = colonnade("events", "list", "-n", "baking.BreadBaked", "--json").stdout
            loaves = [event["data"]["loaves"] for event in json_lines(events)]
        assert host.stop() == 0
    assert loaves == [1, 2, 3]
    assert '"event":"operation done","operation":"RetryDeadLetters","service":"baking"' in host.log
