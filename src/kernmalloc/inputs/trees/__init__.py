"""Readers of device trees: blobs, sources and folders."""
