"""Loops that call the kernel often, in kernel Python: a call from Python costs 500 ns, from here a few."""

from __future__ import annotations
