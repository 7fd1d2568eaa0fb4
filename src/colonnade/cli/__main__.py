"""`python -m colonnade.cli` is `colonnade`."""

from colonnade.cli import main

main()
