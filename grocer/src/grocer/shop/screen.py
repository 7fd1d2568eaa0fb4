"""A run of customers on a terminal: a bar while it lasts, tables when it is over."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from grocer.laws import Breach, Law, Verdict
from grocer.shop.report import Report

__all__ = ["bar", "report_json", "tables", "verdict_json", "verdict_table"]

NAMED = 10
"""So many breaches are named in a table; JSON has all."""


@contextmanager
def bar(console: Console, what: str, total: int) -> Iterator[Callable[[object], None]]:
    """A progress bar for `total` things; what it yields is to be called with each as it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda _: progress.advance(task)


def tables(report: Report) -> RenderableType:
    """The report as tables: orders by status with their money, refusals by name, what was not answered, latencies."""
    orders = Table("orders", *_numbers("count", "dollars"), title=f"{report.baskets} baskets", title_justify="left")
    for status, ended in report.orders.items():
        orders.add_row(status, str(ended.count), f"{ended.total.amount:,.2f}")
    for reason, count in report.rejections.items():
        orders.add_row(f"  {reason}", str(count), "", style="dim")
    for problem, count in report.refusals.items():
        orders.add_row(f"refused: {problem.status} {problem.type}", str(count), "", style="yellow")
    for outcome in report.unanswered:
        orders.add_row(f"no answer for {outcome.basket_id}: {outcome.reason}", "1", "", style="red")
    latencies = Table(*_numbers(*(_name_of(percent) for percent in report.latencies), "retries"))
    latencies.add_row(*(f"{seconds * 1000:.1f} ms" for seconds in report.latencies.values()), str(report.retries))
    return Group(orders, latencies)


def _numbers(*names: str) -> Iterator[Column]:
    return (Column(name, justify="right") for name in names)


def _name_of(percent: int) -> str:
    return "longest" if percent == 100 else f"p{percent}"


def verdict_table(verdict: Verdict) -> RenderableType:
    """The laws with what was judged, then what breaks them and what has not settled, by name."""
    figures = verdict.figures
    judged = {
        Law.GOODS: f"{figures.movements} movements on {figures.shelves} shelves",
        Law.CHARGES: f"{figures.charges} charges" if figures.charges is not None else "no ledger is here",
        Law.TAKEN: f"{figures.charges} charges" if figures.charges is not None else "no ledger is here",
        Law.MONEY: f"{figures.captured.amount:,.2f} - {figures.refunded.amount:,.2f} = {figures.confirmed.amount:,.2f}",
        Law.HANDED_OUT: f"{figures.sold} pieces",
        Law.ENDS: f"{figures.settled} of {figures.orders} orders",
        Law.BASKETS: f"{figures.orders} orders",
    }
    laws = Table("law", "judged", "holds")
    for law, what in judged.items():
        broken, unsettled = verdict.of(law)
        holds = Text("broken", "red") if broken else Text("not yet", "yellow") if unsettled else Text("yes", "green")
        laws.add_row(law.value, what, holds)
    named = [
        Text(f"{word}: {breach.of}: {breach.why}", style)
        for word, style, breaches in (("broken", "red", verdict.broken), ("not settled", "yellow", verdict.unsettled))
        for breach in [*breaches[:NAMED], *_rest(breaches)]
    ]
    return Group(laws, *named)


def _rest(breaches: Sequence[Breach]) -> Iterator[Breach]:
    if len(breaches) > NAMED:
        yield Breach(breaches[0].law, f"{len(breaches) - NAMED} more", "see --json")


def report_json(run: str, report: Report, verdict: Verdict | None) -> bytes:
    """A run as one JSON object: what the tables show, and every breach."""
    return msgspec.json.encode(
        {
            "run": run,
            "baskets": report.baskets,
            "orders": {
                status: {"count": ended.count, "total": ended.total.amount} for status, ended in report.orders.items()
            },
            "rejections": report.rejections,
            "refusals": [
                {"status": problem.status, "type": problem.type, "title": problem.title, "count": count}
                for problem, count in report.refusals.items()
            ],
            "unanswered": [{"basket": each.basket_id, "reason": each.reason} for each in report.unanswered],
            "latency_ms": {
                _name_of(percent): round(seconds * 1000, 3) for percent, seconds in report.latencies.items()
            },
            "retries": report.retries,
            "laws": verdict_json(verdict) if verdict is not None else None,
        }
    )


def verdict_json(verdict: Verdict) -> dict[str, object]:
    """A verdict as JSON's own types."""
    figures = verdict.figures
    return {
        "holds": not verdict.broken,
        "settled": not verdict.unsettled,
        "broken": [_breach_json(each) for each in verdict.broken],
        "unsettled": [_breach_json(each) for each in verdict.unsettled],
        "orders": figures.orders,
        "orders_settled": figures.settled,
        "shelves": figures.shelves,
        "movements": figures.movements,
        "charges": figures.charges,
        "captured": figures.captured.amount,
        "refunded": figures.refunded.amount,
        "confirmed": figures.confirmed.amount,
        "pieces_sold": figures.sold,
    }


def _breach_json(breach: Breach) -> dict[str, str]:
    return {"law": breach.law.value, "of": breach.of, "why": breach.why}
