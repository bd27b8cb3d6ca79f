"""Shows a training run: a bar on a terminal, a plain line at each logging step elsewhere."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback


class LogLastStep(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Has the last step logged, whatever its number; on every process, since logging gathers from all of them."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for the log line."""
        control.should_log |= state.global_step == state.max_steps


class ShowProgress(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Steps done, time left and the metrics named in ``shown`` (name -> format), on standard error or as lines."""

    def __init__(self, stage: str, shown: Mapping[str, str]) -> None:
        self.stage = stage
        self.shown = shown
        self.bar: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the bar, if there is a terminal."""
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=Console(stderr=True))
            self.task = self.bar.add_task(self.stage, total=state.max_steps, completed=state.global_step)
            self.bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar."""
        if self.bar:
            self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Show the metrics."""
        found = [f"{name} {float(logs[name]):{form}}" for name, form in self.shown.items() if logs and name in logs]
        if not found:
            return
        if self.bar:
            self.bar.update(self.task, description=f"{self.stage} {found[0]}")
        else:
            print(f"{self.stage}: step {state.global_step}/{state.max_steps} {', '.join(found)}", flush=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the bar."""
        if self.bar:
            self.bar.stop()
