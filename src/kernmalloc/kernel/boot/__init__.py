"""The boot: where everything lies in the window, how large the heap will be, and the steps from one donation of
frames to a core table for every region."""
