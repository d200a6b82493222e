"""What an object is made for, as LLVM names it. Whoever knows processors says so; this layer knows none."""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """A processor to LLVM. Features of a bare target leave out every register that a kernel does not save."""

    triple: str
    cpu: str
    features: str
    code_model: str = "small"  # how far from zero the object may be linked
    pause: str = ""  # call of the intrinsic that hints at a spin loop
    relocation: str = "static"
    pointer: int = 64  # bits
