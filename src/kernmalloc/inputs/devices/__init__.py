"""Readers of lists of devices, which tell no RAM."""
