"""A small system for tests: bread is baked in one service and sold by another."""
