"""The heap: runs of pages, slabs cut from runs, magazines in front of slabs; malloc and object caches on top."""
