"""A stage's work on one artifact: skip it when it is up to date, keep others out, write the manifest last.

job = Job.of(config, "sft", output="sft/adapter", settings={...}, inputs={"train": path}, command="…")
if job.is_current():
    return
with job.running() as counts:
    ...                      # write the artifact (through `artifacts.replacing` or `write_rows`)
    counts["steps"] = 120
"""

import fcntl
import importlib.metadata
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolwright.artifacts import Manifest, fingerprint, hash_of, manifest_path, read_manifest, write_text
from toolwright.config import RunConfig
from toolwright.errors import ArtifactError

PACKAGES = ("toolwright", "torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "mcp", "openai")


def run_dir(config: RunConfig) -> Path:
    """``runs_dir/name`` of the configuration."""
    return Path(config.runs_dir) / config.name


@dataclass(frozen=True)
class Job:
    """One artifact to be made: where it goes, what it depends on, and who makes it."""

    stage: str
    output: Path
    command: str
    seed: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        config: RunConfig,
        stage: str,
        *,
        output: str,
        command: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Path | str] | None = None,
    ) -> "Job":
        """A job of a run; ``inputs`` are paths, whose content is hashed, or strings that stand for themselves."""
        hashes = {name: fingerprint(v) if isinstance(v, Path) else hash_of(v) for name, v in (inputs or {}).items()}
        return cls(stage, run_dir(config) / output, command, config.seed, dict(settings), hashes)

    @property
    def key(self) -> str:
        """Hash of everything that the artifact depends on; a partial result is continued only under the same key."""
        return hash_of([self.stage, self.seed, self.settings, self.inputs])

    def is_current(self) -> bool:
        """Whether the artifact is finished, unchanged, and made from these settings and inputs; says so if it is."""
        manifest = read_manifest(self.output)
        if manifest is None or not self.output.exists():
            return False
        made_from = hash_of([manifest.stage, manifest.seed, manifest.settings, manifest.inputs])
        current = made_from == self.key and fingerprint(self.output) == manifest.sha256
        if current:
            print(f"{self.stage}: {self.output} is up to date", flush=True)
        return current

    @contextmanager
    def running(self) -> Iterator[dict[str, Any]]:
        """Hold the job's lock, drop the old manifest, and write the new one when the block ends well.

        Raises:
            ArtifactError: another process is making this artifact, or the block left none behind.
        """
        self.output.parent.mkdir(parents=True, exist_ok=True)
        counts: dict[str, Any] = {}
        started = time.monotonic()
        with self._lock():
            manifest_path(self.output).unlink(missing_ok=True)
            yield counts
            if not self.output.exists():
                raise ArtifactError(f"{self.stage}: {self.output} was not written; run again: {self.command}")
            self._write_manifest(counts, time.monotonic() - started)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        path = self.output.with_name(f".{self.output.name}.lock")
        with path.open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                stream.seek(0)
                holder = stream.read().strip() or "unknown"
                raise ArtifactError(f"{self.output} is being made by process {holder}; wait for it or end it") from None
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            yield

    def _write_manifest(self, counts: Mapping[str, Any], wall_s: float) -> None:
        manifest = Manifest(
            stage=self.stage,
            command=self.command,
            sha256=fingerprint(self.output),
            settings=dict(self.settings),
            inputs=dict(self.inputs),
            packages=package_versions(),
            seed=self.seed,
            counts=dict(counts),
            wall_s=round(wall_s, 2),
            peak_rss_mib=round(peak_rss_mib(), 1),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_text(manifest_path(self.output), manifest.model_dump_json(indent=2) + "\n")


def peak_rss_mib() -> float:
    """Largest resident size of this process or of one of its ended children so far (MiB)."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    try:
        # Not ru_maxrss, which begins with the size of whoever started this process.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(own, children) / (1024 if sys.platform != "darwin" else 2**20)


def package_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of those ``packages`` that are installed."""
    versions = {"python": sys.version.split()[0]}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
