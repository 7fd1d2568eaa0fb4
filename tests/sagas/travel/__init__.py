"""A small system for tests: trips are planned in one service, and booked seat by seat at another's stations."""
