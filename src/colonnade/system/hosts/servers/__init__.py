"""Real servers for development, from Python wheels: neither Docker nor root is needed."""
