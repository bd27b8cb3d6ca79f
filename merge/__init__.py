"""Merging: an adapter into its base model, and the proof that both say the same."""
