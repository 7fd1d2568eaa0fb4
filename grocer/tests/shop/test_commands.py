"""What the program `grocer` says when nothing can be done."""

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from grocer.shop.cli import app


def invoke(data: Path, *arguments: str) -> Result:
    """Run a command of `grocer` in this process."""
    environment = {"COLONNADE_DATA": str(data), "NO_COLOR": "1", "TERMINAL_WIDTH": "200"}
    return CliRunner().invoke(app, arguments, env=environment)


def words(text: str) -> str:
    """A text without the frames and the line breaks that a terminal puts into it."""
    return re.sub(r"[\s│]+", " ", text)


@pytest.mark.parametrize("command", ["shop", "laws"])
def test_help_has_examples(tmp_path: Path, command: str) -> None:
    """Each command shows how it is typed."""
    told = invoke(tmp_path, command, "--help")
    assert told.exit_code == 0
    assert f"grocer {command} --" in words(told.stdout).split("Examples")[1]


def test_nobody_at_the_address_is_said_at_once(tmp_path: Path) -> None:
    """Where no Grocer answers, one sentence says so and what to do, whether there is data or not."""
    done = invoke(tmp_path, "shop", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert done.stderr == (
        "Grocer does not answer at http://127.0.0.1:9 (connection refused); start it with make up, or name it with "
        "--url.\n"
    )


class Nothing(BaseHTTPRequestHandler):
    """A web server on which there is nothing."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of a web server that is not Grocer."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def test_another_server_is_told_from_grocer(elsewhere: str, tmp_path: Path) -> None:
    """A web server that is not Grocer is not shopped at."""
    done = invoke(tmp_path, "shop", "--url", elsewhere)
    assert done.exit_code == 1
    assert "something else does: 404 Not Found" in done.stderr


def test_a_directory_without_books_is_said(tmp_path: Path) -> None:
    """Laws cannot be judged from nothing."""
    done = invoke(tmp_path, "laws")
    assert done.exit_code == 1
    assert "There is no store at" in done.stderr
    assert "--data" in done.stderr


def test_a_file_that_is_no_book_is_said(tmp_path: Path) -> None:
    """A damaged file is named with what is wrong, without a traceback."""
    (tmp_path / "ordering.sqlite3").write_bytes(b"no store" * 1_000)
    done = invoke(tmp_path, "laws")
    assert done.exit_code == 1
    assert "ordering.sqlite3 cannot be used as a store" in done.stderr


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_a_speed_that_is_none_is_refused(speed: str, tmp_path: Path) -> None:
    """A speed is a number above zero, or max."""
    done = invoke(tmp_path, "shop", f"--speed={speed}")
    assert done.exit_code == 2
    assert "is no speed" in done.stderr


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("--url=127.0.0.1:8000", "is not the address of a web server"),
        ("--run=two words", "is no run"),
        ("--run=", "is no run"),
        ("--limit=0", "Invalid value for '--limit'"),
        ("--seed=x", "Invalid value for '--seed'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(option: str, why: str, tmp_path: Path) -> None:
    """A mistake in the command is told as such, with status 2, before anything is asked of anybody."""
    done = invoke(tmp_path, "shop", option)
    assert done.exit_code == 2
    assert why in words(done.stderr)
