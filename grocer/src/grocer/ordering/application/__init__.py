"""Ordering application."""
