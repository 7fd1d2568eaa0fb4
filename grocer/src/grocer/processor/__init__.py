"""The card processor: a stand-in for an outside company, with its own process, its own ledger and its own bad days."""
