"""Pages that list what the program has, compared with it."""
