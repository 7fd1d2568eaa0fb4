"""Delivery infrastructure."""
