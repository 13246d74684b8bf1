"""What became of tasks: their history, the trash, and taking changes back."""
