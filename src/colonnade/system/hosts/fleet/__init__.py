"""The fleet: a process for each service, and one for the gateway."""
