"""The customers: a real day of shopping, and the playing of it against a running system."""
