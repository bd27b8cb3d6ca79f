"""Reads the training conversations as tasks and puts them in the order in which RL practises them."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from toolwright.artifacts import read_records
from toolwright.errors import DataError
from toolwright.records import Conversation, Mode
from toolwright.task import Task, task_of


def load_tasks(path: Path) -> list[Task]:
    """All tasks of a conversations file.

    Raises:
        DataError: a broken line, or no conversation at all; names file and line.
    """
    tasks = [task_of(conversation) for conversation in read_records(path, Conversation.from_row)]
    if not tasks:
        raise DataError(f"{path}: no conversation in it; make it anew with: python -m data_gen.split")
    return tasks


def schedule(tasks: Sequence[Task], count: int, *, seed: int, modes: Mapping[Mode, float] | None = None) -> list[Task]:
    """``count`` tasks in a seeded order; each task comes back only after all others of its mode were used.

    Args:
        tasks: what there is to practise.
        count: how many tasks the whole training uses.
        seed: of the order.
        modes: weight of each mode; none: tasks come in the shares that they have in ``tasks``.

    Raises:
        DataError: a mode has weight but no task.
    """
    order = random.Random(f"rl-schedule-{seed}")
    if modes is None:
        return list(islice(_shuffled_forever(tasks, order), count))
    by_mode: defaultdict[Mode, list[Task]] = defaultdict(list)
    for task in tasks:
        by_mode[task.plan.mode].append(task)
    wanted = {mode: weight for mode, weight in modes.items() if weight > 0}
    if absent := sorted(set(wanted) - set(by_mode)):
        raise DataError(
            f"rl.modes asks for {', '.join(absent)}, but no training task has it; there are {sorted(by_mode)}"
        )
    streams = {mode: _shuffled_forever(by_mode[mode], order) for mode in wanted}
    drawn = order.choices(list(wanted), weights=list(wanted.values()), k=count)
    return [next(streams[mode]) for mode in drawn]


def _shuffled_forever(tasks: Sequence[Task], order: random.Random) -> Iterator[Task]:
    while True:
        yield from order.sample(tasks, len(tasks))
