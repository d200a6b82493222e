"""Plans: what a kernel will take on a machine, to the byte, before anything boots; and which devices it will hold."""
