"""A command that a launcher started leaves its process group before the interpreter ends, as gloo cannot survive it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from process_group import left_of_group
from sft_runs import words, write_conversations

from toolwright.errors import ConfigError
from toolwright.processes import run_in_group


def work(argv: Sequence[str]) -> int:
    """Send something around, and end as ``argv`` says."""

    def body() -> None:
        import transformers.trainer  # noqa: F401  # before there is a group, as the training commands import it
        from accelerate import PartialState
        from accelerate.utils import broadcast_object_list

        PartialState(cpu=True)
        broadcast_object_list(["something"])
        if argv[0] == "mistake":
            raise ConfigError("sft.lr: a mistake")
        if argv[0] == "stopped":
            raise KeyboardInterrupt

    return run_in_group(body)


@pytest.mark.parametrize(("ending", "code"), [("well", 0), ("mistake", 2)])
def test_no_thread_of_the_group_is_left(ending: str, code: int) -> None:
    assert left_of_group("test_toolwright_processes:work", ending) == {"code": code, "backend": "gloo", "left": []}


def test_a_stopped_process_waits_for_nothing() -> None:
    found = left_of_group("test_toolwright_processes:work", "stopped")
    assert found["code"] == 130
    assert "group" in found["left"]


def test_without_a_launcher_there_is_nothing_to_leave() -> None:
    assert run_in_group(lambda: None) == 0


def test_sft_leaves_nothing_of_its_group(tmp_path: Path, small_model_dir: Path) -> None:
    data = write_conversations(tmp_path / "train.jsonl", 8)
    argv = words(tmp_path, small_model_dir, data, "sft.epochs=1")
    assert left_of_group("sft.train:main", *argv) == {"code": 0, "backend": "gloo", "left": []}
