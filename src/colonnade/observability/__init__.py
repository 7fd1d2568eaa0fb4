"""Logs, correlation and health."""
