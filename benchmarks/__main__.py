"""`make bench`: every subject in a process of its own, in turns, the median round told, and each bar."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median_low
from typing import Annotated, Any

import apsw
import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.bars import BENCHMARKS, Benchmark
from benchmarks.measuring import Measured

LIBRARIES = ("colonnade", "apsw", "dbos", "eventsourcing", "fastapi", "msgspec", "sqlalchemy", "uvicorn", "uvloop")
SUBJECT_SECONDS = 180

console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(each.name for each in BENCHMARKS)}; all by default.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each subject is measured.")] = 3,
    json: Annotated[Path | None, typer.Option(help="Write every round to this file too.", metavar="FILE")] = None,
) -> None:
    """Measure Colonnade beside its peers: CPU an operation, speed, and the bars.

    Example: python -m benchmarks unit-of-work --rounds 5
    """
    known = {each.name: each for each in BENCHMARKS}
    if unknown := [name for name in names or () if name not in known]:
        raise typer.BadParameter(f"There is no benchmark {unknown[0]!r}; there are {', '.join(known)}.")
    chosen = [known[name] for name in names or known]
    machine = _machine()
    console.print("\n".join(f"{name}: {what}" for name, what in machine.items()))
    found: dict[str, dict[str, list[Measured]]] = {}
    for benchmark in chosen:
        found[benchmark.name] = measured = _measured(benchmark, rounds)
        _show(benchmark, {name: _median(each) for name, each in measured.items()})
    if json is not None:
        json.write_bytes(msgspec.json.encode({"machine": machine, "rounds": found}))


def _measured(benchmark: Benchmark, rounds: int) -> dict[str, list[Measured]]:
    measured: dict[str, list[Measured]] = {name: [] for name in benchmark.subjects}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(benchmark.name, total=rounds * len(measured))
        for _ in range(rounds):
            for name, (module, *arguments) in benchmark.subjects.items():
                measured[name].append(_round(module, arguments))
                progress.advance(task)
    return measured


def _round(module: str, arguments: list[str]) -> Measured:
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    # Logs would be measured too, and of another form on a terminal
    done = subprocess.run(command, capture_output=True, timeout=SUBJECT_SECONDS, stdin=subprocess.DEVNULL)
    try:
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Measured)
    except (IndexError, msgspec.DecodeError):
        raise SystemExit(f"{' '.join(command)} told nothing:\n{done.stderr.decode()[-2_000:]}") from None


def _median(rounds: list[Measured]) -> Measured:
    middle = median_low(each.cpu_us for each in rounds)
    return next(each for each in rounds if each.cpu_us == middle)


def _show(benchmark: Benchmark, of: dict[str, Measured]) -> None:
    table = Table(title=benchmark.title, title_justify="left", box=None, pad_edge=False)
    for column in ("", f"{benchmark.operation}s/s", f"CPU us/{benchmark.operation}", "MB", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right" if column else "left")
    for name, each in of.items():
        table.add_row(
            name,
            f"{each.per_second:,.0f}",
            f"{each.cpu_us:,.0f}",
            *map(_figure, (each.peak_mb, each.p50_ms, each.p99_ms)),
        )
    console.print()
    console.print(table)
    for bar in benchmark.bars:
        value = bar.of(of)
        verdict = "[green]met[/]" if bar.holds(value) else "[red]MISSED[/]"
        console.print(
            f"  {bar.figure}: {value:.2f} {bar.unit}, bar {'>=' if bar.at_least else '<='} {bar.limit} {verdict}"
        )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _machine() -> dict[str, Any]:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}",
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }


if __name__ == "__main__":
    app()
