"""The models that this repository trains itself."""
