"""What becomes of a charge: drawn from the card and the amount, never from the order of calls."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from grocer.chance import chance

__all__ = ["DEFAULT_RATES", "Fate", "Fates"]


class Fate(StrEnum):
    """What the processor does with the first request for a charge; later ones with the same key get its answer."""

    OK = "ok"
    """Charged and answered."""
    DECLINED = "declined"
    """Refused for good: 402."""
    SLOW = "slow"
    """Charged at once, answered late."""
    TIMEOUT = "timeout"
    """Not charged and never answered; the next request with that key is served."""
    LOST = "lost"
    """Charged, but the connection breaks before the answer."""


DEFAULT_RATES: Mapping[Fate, float] = {Fate.DECLINED: 0.02, Fate.SLOW: 0.02, Fate.TIMEOUT: 0.01, Fate.LOST: 0.02}


@dataclass(frozen=True, slots=True)
class Fates:
    """Decides by the card: `tok_declined` and its like (`tok_` and a fate) do as they are called.

    For any other card the fate is drawn from seed, card and amount at the given rates, the rest being `ok`. So a
    basket, which is known by its customer and its total, meets the same fate in every run and at every attempt.
    Raises `ValueError` for rates that are no shares of a whole.
    """

    seed: int
    rates: Mapping[Fate, float]

    def __post_init__(self) -> None:
        if any(rate < 0 for rate in self.rates.values()) or not sum(self.rates.values()) <= 1:
            named = ", ".join(f"{fate} {rate}" for fate, rate in self.rates.items())
            raise ValueError(f"the rates of fates ({named}) are below 0 or above 1 in all; give shares of 1")

    def of(self, card: str, amount: str) -> Fate:
        """The fate of charging `amount` (like 12.34) to `card`."""
        if (fate := _TEST_CARDS.get(card)) is not None:
            return fate
        drawn = chance(self.seed, "card", card, amount)
        for fate, rate in self.rates.items():
            if drawn < rate:
                return fate
            drawn -= rate
        return Fate.OK


_TEST_CARDS = {f"tok_{fate}": fate for fate in Fate}
