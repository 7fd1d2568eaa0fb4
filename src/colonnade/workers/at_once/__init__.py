"""Messages that are done at once: in the commit that sends or receives them, when nothing waits before them.

What a unit sends to its own service, and what a broker brings, is as a rule done within milliseconds. Then it need not
be written into the inbox, looked for, and deleted again: its unit of work joins the one that brings it. Whatever is in
the way of that, the message goes into the inbox as ever, and the worker sees to it.
"""

from colonnade.workers.at_once.committing import AtOnce
from colonnade.workers.at_once.messages import AtHand

__all__ = ["AtHand", "AtOnce"]
