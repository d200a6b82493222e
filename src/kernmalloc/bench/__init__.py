"""Benchmarks: this project and its peers on the same work, in one run, each called through a C function pointer."""
