"""Energy markets."""
