"""What the kernel runs on: architectures, memory, the primitives."""
