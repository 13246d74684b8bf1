"""Tasks as files: export and import."""
