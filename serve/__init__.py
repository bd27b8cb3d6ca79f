"""One command in front of a model: vLLM where its command is found, otherwise a small server on transformers.

Reads a model directory (``merged/`` of the run, with its tokenizer and chat template), optionally an adapter.
"""
