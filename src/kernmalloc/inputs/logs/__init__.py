"""Readers of boot logs, and of the lines in them that tell of memory and devices."""
