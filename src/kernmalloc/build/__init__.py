"""What is made for others: the kernel as a freestanding object."""
