"""Makes the tiny base model: a corpus of random tools, a tokenizer, a training loop, and its score."""
