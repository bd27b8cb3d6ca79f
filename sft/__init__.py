"""Supervised fine-tuning: conversations into tokens and labels, and the LoRA training around them."""
