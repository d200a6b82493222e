"""Simulations: a machine, a kernel and a load, described in a scenario."""
