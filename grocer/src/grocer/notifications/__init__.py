"""Notifications ."""
