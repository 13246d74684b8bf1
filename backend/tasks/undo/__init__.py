"""Taking changes back. An undo is a change like others: it can be taken back, too."""
