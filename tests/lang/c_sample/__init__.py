"""A kernel in miniature for the C back end: every construct of kernel Python, with what is hard to say in C."""
