"""Commands on a disk that is really full: a tiny tmpfs in a mount namespace of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from toolwright.artifacts import manifest_path

REPOSITORY = Path(__file__).resolve().parents[1]
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not can_mount(), reason="no mount namespace for an ordinary user here")


def on_a_full_disk(disk: Path, size: str, *words: str, seed_with: Path | None = None) -> tuple[int, str, str]:
    """Exit code, stderr and what is left on a disk of ``size`` after a command."""
    script = (
        'mount -t tmpfs -o size="$2" tmpfs "$1" && { [ -z "$3" ] || cp -r "$3/." "$1"; }; d="$1"; shift 3; "$@"; c=$?'
    )
    script += '; (cd "$d" && find . -type f) >&3; exit $c'
    command = [*NAMESPACE, "sh", "-c", f"exec 3>{disk}.left; {script}", "sh", str(disk), size, str(seed_with or "")]
    done = subprocess.run(
        [*command, sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stderr, Path(f"{disk}.left").read_text()


def test_questions_on_a_full_disk_end_with_one_line_and_nothing_half_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["-m", "data_gen.questions", "-n", "400", f"runs_dir={disk}", "name=full"]
    code, error, left = on_a_full_disk(disk, "60k", *words)
    assert code == 2, error
    assert error.strip().splitlines()[-1].startswith("error: ")
    assert "No space left on device; free space" in error
    assert "Traceback" not in error
    assert not any(line.endswith("/questions.jsonl") for line in left.splitlines())


def test_training_on_a_full_disk_ends_with_one_line_and_no_adapter(tmp_path: Path, small_model_dir: Path) -> None:
    data = tmp_path / "train.jsonl"
    row = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'
    data.write_text(row * 8)
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["-m", "sft.train", f"model={small_model_dir}", f"runs_dir={disk}", "name=full", f"sft.data={data}"]
    code, error, left = on_a_full_disk(disk, "100k", *words, "sft.epochs=1", "threads=1", "sft.save_steps=1")
    assert code == 2, error
    assert "No space left on device; free space" in error
    assert "Traceback" not in error
    assert manifest_path(Path("./full/sft/adapter")).as_posix() not in left
