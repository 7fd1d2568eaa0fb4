"""Inventory application."""
