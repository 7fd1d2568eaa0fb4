"""A box office in two versions of its code, that run side by side."""
