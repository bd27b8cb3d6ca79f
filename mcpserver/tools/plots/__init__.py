"""Charts of numbers, drawn by matplotlib."""
