"""Brokers carry messages between services."""
