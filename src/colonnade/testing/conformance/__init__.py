"""Suites that every adapter of a port inherits; they pass, or it is no adapter."""
