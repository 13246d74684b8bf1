"""A noun: what the user and the assistant said to each other. It needs no model, and knows none."""
