"""The real service against a real PostgreSQL that fails in every way we know. `make chaos` runs them."""
