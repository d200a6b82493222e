"""The memory manager itself, in kernel Python."""
