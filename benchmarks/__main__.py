"""`make bench`: every subject in a process of its own, in turns, the medians of its rounds told, and each bar."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.bars import BENCHMARKS, Benchmark, Figures
from benchmarks.measuring import PROFILE_VARIABLE, Measured
from benchmarks.postgres import postgres_server
from benchmarks.profiling import leading
from benchmarks.profiling import profile as profile_of
from benchmarks.rounds import machine, round_of

console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(each.name for each in BENCHMARKS)}; all by default.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each subject is measured.")] = 3,
    profile: Annotated[
        str | None, typer.Option(help="Profile one round of our side of this benchmark instead.", metavar="NAME")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write every round to this file too.", metavar="FILE")] = None,
) -> None:
    """Measure Colonnade beside its peers: CPU an operation, speed, and the bars.

    Examples: python -m benchmarks unit-of-work --rounds 5, python -m benchmarks --profile post
    """
    known = {each.name: each for each in BENCHMARKS}
    if unknown := [name for name in [*(names or ()), *filter(None, [profile])] if name not in known]:
        raise typer.BadParameter(f"There is no benchmark {unknown[0]!r}; there are {', '.join(known)}.")
    chosen = [known[name] for name in names or known]
    about = machine()
    console.print("\n".join(f"{name}: {what}" for name, what in about.items()), soft_wrap=True)
    if profile is not None:
        console.out(profile_of(_profiled(known[profile])))
        return
    found: dict[str, dict[str, list[Measured]]] = {}
    for benchmark in chosen:
        found[benchmark.name] = measured = _measured(benchmark, rounds)
        _show(benchmark, {name: Figures.of(each) for name, each in measured.items()})
    if json is not None:
        json.write_bytes(msgspec.json.encode({"machine": about, "rounds": found}))


def _measured(benchmark: Benchmark, rounds: int) -> dict[str, list[Measured]]:
    measured: dict[str, list[Measured]] = {name: [] for name in benchmark.subjects}
    with _servers_of(benchmark) as servers, Progress(console=console, transient=True) as progress:
        task = progress.add_task(benchmark.name, total=rounds * len(measured))
        for _ in range(rounds):
            for name, (module, *arguments) in benchmark.subjects.items():
                measured[name].append(round_of(module, arguments, servers))
                progress.advance(task)
    return measured


def _profiled(benchmark: Benchmark) -> Callable[[Path], None]:
    """What runs a round of our side and leaves its profile in a file."""
    module, *arguments = benchmark.subjects[benchmark.ours]

    def measure(file: Path) -> None:
        with _servers_of(benchmark) as servers:
            round_of(module, arguments, {PROFILE_VARIABLE: str(file), **servers})

    return measure


@contextmanager
def _servers_of(benchmark: Benchmark) -> Iterator[Mapping[str, str]]:
    """What subjects must have in their environment."""
    if not benchmark.on_postgres:
        yield {}
        return
    with postgres_server() as environment:
        yield environment


def _show(benchmark: Benchmark, of: dict[str, Figures]) -> None:
    table = Table(title=benchmark.title, title_justify="left", box=None, pad_edge=False)
    columns: dict[str, list[str]] = {
        f"{benchmark.operation}s/s": [f"{each.per_second:,.0f}" for each in of.values()],
        f"CPU us/{benchmark.operation}": [f"{each.cpu_us:,.0f}" for each in of.values()],
        "servers', children's": [_figure(each.children_us) for each in of.values()],
        "peak MB": [_figure(each.peak_mb) for each in of.values()],
        "p50 ms": [_figure(each.p50_ms) for each in of.values()],
        "p99 ms": [_figure(each.p99_ms) for each in of.values()],
    }
    measured = {column: values for column, values in columns.items() if any(values)}
    table.add_column("")
    for column in measured:
        table.add_column(column, justify="right")
    for row in zip(of, *measured.values(), strict=True):
        table.add_row(*row)
    console.print()
    console.print(table)
    for name, each in of.items():
        if each.processes:
            _show_processes(f"{name}, process by process", benchmark.operation, each)
    missed = False
    for bar in benchmark.bars:
        told = f"  {bar.figure}: {(value := bar.of(of)):.2f} {bar.unit}"
        if bar.limit is not None:
            missed |= not (holds := bar.holds(value))
            verdict = "[green]met[/]" if holds else "[red]MISSED[/]"
            told += f", bar {'>=' if bar.at_least else '<='} {bar.limit:.5g} {verdict}"
        console.print(told)
    if missed:
        console.print(f"  Where our CPU goes (more: python -m benchmarks --profile {benchmark.name}):")
        for share, function in leading(_profiled(benchmark)):
            console.out(f"    {share:5.1%}  {function}")


def _show_processes(title: str, operation: str, of: Figures) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("", f"CPU us/{operation}", "MB"):
        table.add_column(column, justify="right" if column else "left")
    for name, (cpu_us, memory_mb) in sorted(of.processes.items(), key=lambda item: -item[1][0]):
        table.add_row(name, f"{cpu_us:,.0f}", f"{memory_mb:.1f}")
    console.print(table)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    app()
