"""What the stages share: records, artifacts, configuration, chat text, calls, the model-tool loop and the chain."""

__version__ = "0.1.0"

import logging

# Says at every import, which PEFT makes, that a faster kernel for CPUs is elsewhere.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
