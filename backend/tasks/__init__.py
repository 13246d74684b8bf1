"""The tasks. Every noun is one such folder, with the same names inside."""
