"""Rewards: one pure function a file, from a completion and its ground truth to a number; no torch."""
