"""What a run of customers came to, in numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil
from operator import add

from grocer.kernel import ZERO, Money
from grocer.shop.orders import Order, Outcome, Placed, Problem, Refused, Unanswered

__all__ = ["UNSEEN", "Ended", "Report", "report_on"]

UNSEEN = "not seen"
"""In place of a status, for an order that could not be looked at."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How many orders stand at one status, and what they cost together."""

    count: int
    total: Money


@dataclass(frozen=True, slots=True)
class Report:
    """A run: every basket is an order, a refusal or unanswered, so the three add up to `baskets`.

    `rejections` says what was in the way of the orders that were rejected.
    `latencies` has the seconds of answered attempts by percentile; it is empty when nothing was answered. `retries`
    counts attempts beyond the first.
    """

    baskets: int
    orders: Mapping[str, Ended]
    rejections: Mapping[str, int]
    refusals: Mapping[Problem, int]
    unanswered: Sequence[Unanswered]
    latencies: Mapping[int, float]
    retries: int

    @property
    def is_complete(self) -> bool:
        """Whether it is known of every basket what became of it."""
        return not self.unanswered and UNSEEN not in self.orders


def report_on(outcomes: Sequence[Outcome], ends: Mapping[Placed, Order | None]) -> Report:
    """The report on the outcomes of a run and on how its orders ended; refusals are counted by type and title."""
    answered = sorted(outcome.seconds for outcome in outcomes if not isinstance(outcome, Unanswered))
    refusals = Counter(
        Problem(outcome.problem.type, outcome.problem.title, outcome.problem.status)
        for outcome in outcomes
        if isinstance(outcome, Refused)
    )
    # What a reason has in brackets is of one order
    rejections = Counter(order.reason.partition(" (")[0] for order in ends.values() if order and order.reason)
    totals_by_status: dict[str, list[Money]] = {}
    for order in ends.values():
        status, total = (order.status, order.total) if order else (UNSEEN, ZERO)
        totals_by_status.setdefault(status, []).append(total)
    return Report(
        baskets=len(outcomes),
        orders={
            status: Ended(len(totals), reduce(add, totals, ZERO)) for status, totals in sorted(totals_by_status.items())
        },
        rejections=dict(rejections.most_common()),
        refusals=dict(refusals.most_common()),
        unanswered=[outcome for outcome in outcomes if isinstance(outcome, Unanswered)],
        latencies={percent: _percentile(answered, percent) for percent in (50, 95, 99, 100)} if answered else {},
        retries=sum(outcome.attempts - 1 for outcome in outcomes),
    )


def _percentile(ascending: Sequence[float], percent: int) -> float:
    return ascending[ceil(len(ascending) * percent / 100) - 1]  # nearest rank
