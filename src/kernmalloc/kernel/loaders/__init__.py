"""What boot loaders hand over: a reader for each protocol, which makes ranges of physical memory of it."""
