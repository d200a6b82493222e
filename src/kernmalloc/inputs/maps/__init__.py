"""Readers of memory maps in the print of firmware, loaders, kernels and tools."""
