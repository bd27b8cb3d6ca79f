"""Text: words, patterns, comparison, encodings, structured text."""
