"""Notifications infrastructure."""
