"""Simulated services (mail, calendar, tickets, shop, bank …): seeded and deterministic, with state that calls see."""
