"""What the stages share: records, artifacts, configuration, chat text, calls, the model-tool loop and the chain."""

__version__ = "0.1.0"
