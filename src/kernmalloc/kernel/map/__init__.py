"""The kernel's virtual window: frames behind its pages and taken away from there, and windows of each processor on
frames that are not mapped."""
