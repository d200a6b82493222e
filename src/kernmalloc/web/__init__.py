"""Pages: what is better looked at than read, each one HTML file that needs no network."""
