"""How fast Colonnade is, beside peers that were written as their own documentation advises."""
