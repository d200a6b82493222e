"""Many machines, one setting: the least that covers a share of them, proved machine by machine."""
