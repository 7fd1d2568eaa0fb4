"""The store: a service's log, inbox, outbox, timers, leases and read models in one database."""
