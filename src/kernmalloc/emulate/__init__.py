"""Example kernels under QEMU: built and booted, and what they say compared with a simulation."""
