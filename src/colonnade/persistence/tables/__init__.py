"""Read models: their tables, writes on them, and reading them back."""
