"""Payments ."""
