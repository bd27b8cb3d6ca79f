"""Started by torchrun: ``sft.train`` under accelerate's FSDP2 on CPUs.

accelerate (1.15, ``AcceleratorState.__init__``) turns only processes with accelerators into FSDP and ignores the plugin
on CPUs without a word. Everything behind that choice works on CPUs with gloo; so the processes call themselves XPUs.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from accelerate import PartialState
from accelerate.utils import DistributedType

PartialState(cpu=True)
PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU

from sft.train import main

sys.exit(main(sys.argv[1:]))
