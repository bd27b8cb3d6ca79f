"""Supervised fine-tuning: conversations into tokens and labels, and the LoRA training around them."""

import toolwright  # noqa: F401 -- before PEFT is imported: it silences what that prints
