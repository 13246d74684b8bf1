"""A noun: feeds of a user's tasks that calendar programs subscribe to. See docs/decisions/calendar.md."""
