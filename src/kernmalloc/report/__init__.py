"""What a person reads: the text that the command line prints, in the style of /proc/iomem, buddyinfo and slabinfo."""
