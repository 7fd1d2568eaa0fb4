"""Colonnade: build and run a system of services, on a laptop and as a fleet, from one code base."""
