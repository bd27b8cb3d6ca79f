"""Started by torchrun: ``sft.train`` under accelerate's FSDP2 on CPUs.

accelerate (1.15, ``AcceleratorState.__init__``) turns only processes with accelerators into FSDP and ignores the plugin
on CPUs without a word. Everything behind that choice works on CPUs with gloo; so the processes call themselves XPUs.
"""

import sys
from pathlib import Path

sys.path[:1] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from accelerate import PartialState
from accelerate.utils import DistributedType
from process_group import gloo_threads

from sft.train import main

PartialState(cpu=True)
PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
code = main(sys.argv[1:])
assert not gloo_threads(), "they may abort the process at its end"
sys.exit(code)
