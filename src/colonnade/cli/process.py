"""A process of the fleet, as the fleet's host starts it: `python -m colonnade.cli.process`."""

import gc

from colonnade.cli.optional import as_if_missing

__all__ = ["main"]


def main() -> None:
    """Run the process that the environment describes."""
    # A fleet starts as many of these at once as it has services, all of which import the same. Nothing that is imported
    # is garbage: looking for some was a fifth of the time. It is looked for once the process serves.
    gc.disable()
    # For drawing tracebacks in colours, which these logs are not, structlog took a tenth of it
    with as_if_missing("rich"):
        from colonnade.cli.working import work
    work()


if __name__ == "__main__":
    main()
