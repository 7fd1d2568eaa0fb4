"""The program `grocer`: customers for a running Grocer, and its laws."""

import asyncio
import math
import os
import random
import re
import sys
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import uvloop
from colonnade.cli.data import of_tenant
from colonnade.messages.codec import MalformedMessage, NewerVersion
from colonnade.observability.logs import InvalidLogSetting, log_to_standard_error
from colonnade.persistence.failures import StoreFailed
from colonnade.persistence.sqlite import NewerStore, NotAStore
from colonnade.world import real_world
from rich.console import Console

from grocer.laws import Books, Verdict
from grocer.shop.day import load_day
from grocer.shop.orders import address_of
from grocer.shop.run import NotReachable, NotRestocked, Run, settled_verdict
from grocer.shop.screen import bar, report_json, tables, verdict_json, verdict_table

__all__ = ["app", "main"]

INTERRUPTED = 130

_FAILURES = (NotReachable, NotRestocked, NotAStore, NewerStore, StoreFailed, MalformedMessage, NewerVersion)

_Data = Annotated[
    Path,
    typer.Option("--data", "-d", envvar="COLONNADE_DATA", help="Grocer's data directory: the laws' evidence."),
]
_Tenant = Annotated[
    str | None,
    typer.Option(
        envvar="COLONNADE_TENANT", metavar="TENANT", help="Whose Grocer, where it has tenants.", show_default=False
    ),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

DATA = Path(".colonnade")

_WIDTH_OF_PIPES = 120

_RUN_ID = re.compile(r"[!-~]{1,200}")
"""Fits, with a basket behind it, into an Idempotency-Key."""

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Play customers against a running Grocer, and judge its laws.",
)


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise typer.BadParameter(f"{text!r} is no speed; give a number above 0, such as 60, or max.")
    return speed


def _url(text: str) -> str:
    try:
        return address_of(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def _run_id(text: str) -> str:
    if not _RUN_ID.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is no run; give 1 to 200 visible ASCII characters, without spaces.")
    return text


@app.command()
def shop(
    speed: Annotated[
        float, typer.Option(parser=_speed, metavar="NUMBER|max", help="How many times as fast as on the day.")
    ] = "60",  # type: ignore[assignment]  # typer parses defaults too
    url: Annotated[str, typer.Option(parser=_url, metavar="URL", help="Where Grocer is.")] = "http://127.0.0.1:8000",
    seed: Annotated[int, typer.Option(help="What the pauses between attempts are drawn from.")] = 2017,
    limit: Annotated[
        int | None, typer.Option("--limit", "-l", min=1, help="The day's first baskets only.", show_default=False)
    ] = None,
    one_by_one: Annotated[
        bool,
        typer.Option(
            "--one-by-one", help="One customer after the other, each when the order before is settled, at any speed."
        ),
    ] = False,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            parser=_run_id,
            metavar="ID",
            help="The run's name; given again, nothing is ordered twice.",
            show_default="a fresh one",
        ),
    ] = None,
    data: _Data = DATA,
    tenant: _Tenant = None,
    as_json: _AsJson = False,
) -> None:
    """Play the day's 645 baskets as customers, follow every order to its end, and judge the laws.

    At speed 60 the day takes 24 minutes. Requests are tried again under the same Idempotency-Key, run/basket.

    The exit status is 1 when a law is broken, an order has not ended in time, or nobody knows what became of a basket.

    [bold]Examples[/bold]

        grocer shop --speed max

        grocer shop --speed 600 --limit 100

        grocer shop --speed max --run friday --json

        grocer shop --one-by-one --limit 20

        grocer shop --speed max --tenant acme
    """  # fmt: skip
    world = replace(real_world(), randomness=_Seeded(seed))
    console = _console(stderr=as_json)
    id, books = run or f"{world.ids.new()}", of_tenant(data, tenant)
    playing = Run(id, url, books, world, lambda what, total: bar(console, what, total), tenant)
    baskets = load_day().baskets[:limit]

    async def play() -> None:
        await playing.greet()
        console.print(f"run {playing.id}", highlight=False)
        await playing.play(baskets, None if one_by_one else speed)

    interrupted = not _finished(play())
    report = playing.report()
    if as_json:
        sys.stdout.buffer.write(report_json(playing.id, report, playing.verdict) + b"\n")
    else:
        console.print(tables(report))
        if playing.verdict is not None:
            console.print(verdict_table(playing.verdict))
    if interrupted:
        done = f"{len(playing.outcomes)} of {len(baskets)} baskets were played"
        typer.echo(f"Interrupted: {done}; go on with --run {playing.id}.", err=True)
        raise typer.Exit(INTERRUPTED)
    verdict = playing.verdict
    if not report.is_complete or verdict is None or verdict.broken or playing.unsettled:
        raise typer.Exit(1)


@app.command()
def laws(
    settled: Annotated[
        bool, typer.Option("--settled", help="Wait until everything has settled; exit 1 when it does not in time.")
    ] = False,
    within: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait with --settled.")] = 60.0,
    data: _Data = DATA,
    tenant: _Tenant = None,
    as_json: _AsJson = False,
) -> None:
    """Judge Grocer's laws from what its services wrote down, whether it runs or not.

    What always holds is judged at any time; the rest for what has settled, and what has not is named.

    The exit status is 1 when a law is broken, or with --settled when something has not settled in time.

    [bold]Examples[/bold]

        grocer laws

        grocer laws --settled --within 30

        grocer laws --data /var/lib/grocer --json
    """
    verdicts: list[Verdict] = []
    if not _finished(_judged(of_tenant(data, tenant), within if settled else 0.0, verdicts)):
        raise typer.Exit(INTERRUPTED)
    (verdict,) = verdicts
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(verdict_json(verdict)) + b"\n")
    else:
        _console().print(verdict_table(verdict))
    if verdict.broken or (settled and verdict.unsettled):
        raise typer.Exit(1)


async def _judged(data: Path, within: float, into: list[Verdict]) -> None:
    world = real_world()
    async with Books.open(data, world) as books:
        into.append(await settled_verdict(books, world, world.clock.monotonic() + within))


def _console(*, stderr: bool = False) -> Console:
    """Where tables go; a pipe is wide enough for them."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=None if terminal else _WIDTH_OF_PIPES)


def _finished(work: Coroutine[Any, Any, None]) -> bool:
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except KeyboardInterrupt:
        return False
    except FileNotFoundError as error:
        _fail(f"{error} Name Grocer's data directory with --data.")
    except _FAILURES as error:
        _fail(error)
    return True


def _fail(sentence: object) -> None:
    typer.secho(f"{sentence}", err=True, fg=typer.colors.RED if sys.stderr.isatty() else None)
    raise typer.Exit(1)


class _Seeded:
    """Draws the same numbers again for the same seed."""

    def __init__(self, seed: int) -> None:
        self._generator = random.Random(seed)  # noqa: S311 - jitter

    def random(self) -> float:
        return self._generator.random()

    def bits(self, count: int) -> int:
        return self._generator.getrandbits(count)


def main() -> None:
    """Run the program."""
    try:
        log_to_standard_error(os.environ, real_world().clock)
    except InvalidLogSetting as error:
        sys.exit(f"{error}")
    app(prog_name="grocer")
