"""A kernel in miniature, for the tests of kernel Python: records, lists, arithmetic, and machines to run it on."""
