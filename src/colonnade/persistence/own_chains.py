"""The chains of messages that a service sends to itself, by lane; those from others have ids above zero."""

from collections.abc import Mapping

__all__ = ["LANES", "OWN_CHAINS"]

OWN_CHAINS: Mapping[str, int] = {"": 0, "timers": -1, "controls": -2}

LANES: Mapping[int, str] = {chain: lane for lane, chain in OWN_CHAINS.items()}
"""The lane of each of them."""
