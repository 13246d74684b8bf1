"""The history of the schema. `make migration m="…"` writes the next step; migrate.py runs them."""
