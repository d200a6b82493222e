"""The page cache: pages of objects, their mappings in address spaces, their source, and contiguous ranges of frames."""
