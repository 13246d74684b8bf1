"""One file a noun; each endpoint a few lines: dependencies in, crud call, model out."""
