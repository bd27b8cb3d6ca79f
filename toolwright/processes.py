"""A training command that a launcher may start as several processes: how they part when it has ended.

torch leaves its process group to the interpreter's end, which gloo's threads do not survive: such a thread takes the
GIL to let go of the tensors of its last work; Python, once it is ending, ends the thread instead; and C++ answers that
with "terminate called without an active exception" and SIGABRT, after a training that went well. Destroying the group
waits for its threads, if nothing else holds the group: a module with a group in its default arguments, such as
``torch.distributed.nn.functional``, must be imported before there is one. transformers' trainer imports that module.

Source: pytorch issues 190489 and 179291.
"""

import gc
import sys
from collections.abc import Callable

from toolwright.command import USER_ERROR, run_command


def run_in_group(body: Callable[[], int | None]) -> int:
    """``run_command``, and the end of the process group, if this is one of several processes.

    A command that did its work waits for the others. One that ended in a user's mistake waits for nobody, since the
    others may be in the midst of theirs until the launcher ends them. After anything else the group stays as it is:
    work may be pending that nobody will finish.
    """
    code = run_command(body)
    if code in (0, USER_ERROR):
        _leave_group(finished=code == 0)
    return code


def _leave_group(finished: bool) -> None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return
    from accelerate import PartialState

    if finished:
        PartialState().wait_for_everyone()
    elif distributed.get_backend() != "gloo":
        return  # NCCL's threads survive the end, and its shutdown may wait for the other processes
    gc.collect()  # a trainer is a cycle, which would keep the group and its threads alive
    PartialState().destroy_process_group()
