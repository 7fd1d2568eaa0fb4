"""What a log line holds, for machines and for people."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from uuid import UUID

import pytest
import structlog

from colonnade.observability.correlation import Context, current_context, current_tenant
from colonnade.observability.logs import (
    InvalidLogSetting,
    LogForm,
    LogLevel,
    LogSettings,
    configure_logs,
    get_logger,
)
from colonnade.world import real_world

CLOCK = real_world().clock
CORRELATION, CAUSE = UUID(int=1), UUID(int=2)


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    """Leave the process's logs as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def logged(form: LogForm = LogForm.JSON, level: LogLevel = LogLevel.INFO, *, colours: bool = False) -> io.BytesIO:
    """Where this process logs from now on."""
    out = io.BytesIO()
    configure_logs(LogSettings(level, form), CLOCK, out, colours=colours)
    return out


def lines(out: io.BytesIO) -> list[dict[str, object]]:
    """The JSON lines written so far."""
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_an_event_with_fields() -> None:
    """Time, level and event come first, then the fields as they were given."""
    out = logged()
    get_logger().info("relayed", topic="ordering.events", messages=3)
    (line,) = lines(out)
    assert list(line) == ["time", "level", "event", "topic", "messages"]
    assert (line["level"], line["event"], line["messages"]) == ("info", "relayed", 3)
    assert str(line["time"]).endswith("Z")


def test_a_line_says_whose_it_is() -> None:
    """The tenant of the request or message at hand, else that of the work in the background; nobody's says nothing."""
    out = logged()
    get_logger().info("x")
    tenant = current_tenant.set("acme")
    get_logger().info("x")
    token = current_context.set(Context(CORRELATION, tenant="bolt"))
    get_logger().info("x")
    current_context.reset(token)
    current_tenant.reset(tenant)
    assert [line.get("tenant") for line in lines(out)] == [None, "acme", "bolt"]


def test_a_line_belongs_to_the_work_at_hand() -> None:
    """What is logged while a message is handled carries its correlation id, its cause and its trace."""
    out = logged()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    token = current_context.set(Context(CORRELATION, CAUSE, "someone", f"00-{trace}-00f067aa0ba902b7-01"))
    try:
        get_logger().info("handled")
    finally:
        current_context.reset(token)
    get_logger().info("idle")
    handled, idle = lines(out)
    assert (handled["correlation_id"], handled["causation_id"], handled["trace_id"]) == (
        str(CORRELATION),
        str(CAUSE),
        trace,
    )
    assert "correlation_id" not in idle


def test_a_line_never_names_the_caller() -> None:
    """Logs hold no personal fields, and a principal may be a person."""
    out = logged()
    token = current_context.set(Context(CORRELATION, principal="ann@example.com"))
    get_logger().info("handled")
    current_context.reset(token)
    assert b"ann" not in out.getvalue()


def test_lines_below_the_level_are_not_written() -> None:
    """The level is the least that is written."""
    out = logged(level=LogLevel.WARNING)
    get_logger().info("unimportant")
    get_logger().warning("important")
    assert [line["event"] for line in lines(out)] == ["important"]


def test_an_exception_is_one_field() -> None:
    """A traceback does not break the line."""
    out = logged()
    try:
        raise ValueError("no such product")
    except ValueError:
        get_logger().exception("failed")
    (line,) = lines(out)
    assert line["level"] == "error"
    assert "ValueError: no such product" in str(line["exception"])


def test_a_field_that_is_no_json_is_written_as_it_prints() -> None:
    """Values of any type can be logged; one that cannot even be encoded does not take the event with it."""
    out = logged()
    get_logger().info("odd", price=Decimal("1.20"), where=object, nested={"where": object()})
    itself: list[object] = []
    itself.append(itself)
    get_logger().info("endless", itself=itself)
    odd, endless = lines(out)
    assert odd["price"] == "1.20"
    assert "object" in str(odd["where"])
    assert endless["event"] == "'endless'"
    assert "unencodable" in endless


def test_lines_of_libraries_are_lines_like_ours() -> None:
    """What uvicorn or asyncio report through `logging` is written in the same form, from warnings on."""
    out = logged()
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning("Invalid %s received.", "request")
    try:
        raise OSError("no space")
    except OSError:
        logging.getLogger("asyncio").exception("Task failed")
    warning, error = lines(out)
    assert (warning["event"], warning["logger"], warning["level"]) == (
        "Invalid request received.",
        "uvicorn.error",
        "warning",
    )
    assert "no space" in str(error["exception"])


def test_a_line_for_people_says_first_what_happened_and_last_what_it_belongs_to() -> None:
    """On a terminal a line reads from left to right."""
    out = logged(LogForm.TEXT)
    token = current_context.set(Context(CORRELATION))
    get_logger().info("request", method="GET", path="/api/catalog/products")
    current_context.reset(token)
    text = out.getvalue().decode()
    assert text.count("\n") == 1
    moment, level, event, *rest = text.split()
    assert (level, event) == ("info", "request")
    assert rest == ["method=GET", "path=/api/catalog/products", f"correlation_id={CORRELATION}"]
    assert len(moment) == len("12:00:00.000")


def test_a_line_for_people_shows_the_traceback_below() -> None:
    """An exception is readable as Python prints it."""
    out = logged(LogForm.TEXT)
    try:
        raise ValueError("no such product")
    except ValueError:
        get_logger().exception("failed")
    first, *rest = out.getvalue().decode().splitlines()
    assert "failed" in first
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "ValueError: no such product"


@pytest.mark.parametrize("hostile", ["\x1b[2J", "a\nb", "\x07", "", "two words"])
def test_a_value_cannot_steer_the_terminal(hostile: str) -> None:
    """A value from outside is quoted when it has control characters, spaces or nothing at all."""
    out = logged(LogForm.TEXT)
    get_logger().info("request", path=hostile)
    text = out.getvalue().decode()
    assert f"path={hostile!r}" in text
    assert "\x1b" not in text


def test_colours_are_for_terminals_only() -> None:
    """Escape sequences are written where they were asked for."""
    plain, coloured = logged(LogForm.TEXT), logged(LogForm.TEXT, colours=True)
    get_logger().info("ready")
    assert plain.getvalue() == b""
    assert b"\x1b[32minfo" in coloured.getvalue()


class Pipe(io.BytesIO):
    """A pipe whose reader comes and goes, and that takes at most ten bytes at a time."""

    broken = False

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self.broken:
            raise BrokenPipeError
        return super().write(data[:10])


def test_work_goes_on_when_nobody_takes_the_log_and_the_gap_is_told() -> None:
    """A broken pipe or a full disk raises nothing; when lines get through again, the first says how many did not."""
    pipe = Pipe()
    configure_logs(LogSettings(), CLOCK, pipe)
    log = get_logger()
    log.info("first")
    pipe.broken = True
    log.info("second")
    log.info("third")
    pipe.broken = False
    log.info("fourth")
    assert [(line["event"], line.get("count")) for line in lines(pipe)] == [
        ("first", None),
        ("log lines lost", 2),
        ("fourth", None),
    ]


@pytest.mark.parametrize(
    ("environment", "terminal", "settings"),
    [
        ({}, True, LogSettings(LogLevel.INFO, LogForm.TEXT)),
        ({}, False, LogSettings(LogLevel.INFO, LogForm.JSON)),
        ({"COLONNADE_LOG_LEVEL": "Debug"}, False, LogSettings(LogLevel.DEBUG, LogForm.JSON)),
        ({"COLONNADE_LOG_FORM": "json", "COLONNADE_LOG_LEVEL": ""}, True, LogSettings(LogLevel.INFO, LogForm.JSON)),
    ],
)
def test_the_environment_decides_and_a_terminal_gets_text(
    environment: dict[str, str], terminal: bool, settings: LogSettings
) -> None:
    """Two variables override what is right for a terminal and for a pipe."""
    assert LogSettings.of(environment, terminal=terminal) == settings


def test_a_level_that_does_not_exist_is_refused_by_name() -> None:
    """The error names the variable, its value and what it may be."""
    with pytest.raises(
        InvalidLogSetting, match="COLONNADE_LOG_LEVEL is 'loud'; set it to one of debug, info, warning, error, or"
    ):
        LogSettings.of({"COLONNADE_LOG_LEVEL": "loud"}, terminal=False)


def test_a_program_s_lines_go_to_standard_error() -> None:
    """What it prints for others to read stays whole; a setting that is none is told."""
    program = (
        "import os\n"
        "from colonnade.observability.logs import get_logger, log_to_standard_error\n"
        "from colonnade.world import real_world\n"
        "log_to_standard_error(os.environ, real_world().clock)\n"
        "get_logger().warning('slow', milliseconds=300)\n"
        "print('answer')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "answer\n"
    assert json.loads(ran.stderr)["event"] == "slow"
    environment = {**os.environ, "COLONNADE_LOG_LEVEL": "loud"}
    refused = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert refused.returncode == 1
    assert "InvalidLogSetting" in refused.stderr
