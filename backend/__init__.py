"""The multi-user task backend behind a Next.js frontend."""

__version__ = "0.1.0"
