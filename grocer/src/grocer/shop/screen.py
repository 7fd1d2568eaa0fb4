"""A run of customers on a terminal: a bar while it lasts, tables when it is over."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from grocer.shop.report import Report

__all__ = ["bar", "tables"]


@contextmanager
def bar(console: Console, what: str, total: int) -> Iterator[Callable[[object], None]]:
    """A progress bar for `total` things; what it yields is to be called with each as it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total)
        yield lambda _: progress.advance(task)


def tables(report: Report) -> RenderableType:
    """The report as tables: orders by status with their money, refusals by name, what was not answered, latencies."""
    orders = Table("orders", "count", "dollars", title=f"{report.baskets} baskets", title_justify="left")
    for status, ended in report.orders.items():
        orders.add_row(status, str(ended.count), f"{ended.total.amount:,.2f}")
    for problem, count in report.refusals.items():
        orders.add_row(f"refused: {problem.status} {problem.type}", str(count), "", style="yellow")
    for outcome in report.unanswered:
        orders.add_row(f"no answer for {outcome.basket_id}: {outcome.reason}", "1", "", style="red")
    latencies = Table(*(_name_of(percent) for percent in report.latencies), "retries")
    latencies.add_row(*(f"{seconds * 1000:.1f} ms" for seconds in report.latencies.values()), str(report.retries))
    return Group(orders, latencies)


def _name_of(percent: int) -> str:
    return "longest" if percent == 100 else f"p{percent}"
