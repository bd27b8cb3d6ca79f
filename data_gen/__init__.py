"""Data generation: questions with verified plans, conversations played on live tools, and a split without leaks."""
