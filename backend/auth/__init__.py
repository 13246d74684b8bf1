"""Who asks: from a header or cookie to a user."""
