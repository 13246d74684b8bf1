"""What an assistant can do with a user's tasks: a few functions made for conversation, in a catalogue."""
