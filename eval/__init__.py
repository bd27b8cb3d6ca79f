"""Scores models on held-out tasks played live, and shows the evidence: JSON, one HTML page, a table."""
