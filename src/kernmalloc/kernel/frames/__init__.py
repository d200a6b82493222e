"""Physical memory: its regions, the bitmaps of free frames, the core table that says who owns each frame, the stocks
that make a page cheap to get, the claims of threads that wait, and the page space that the kernel itself draws on."""
