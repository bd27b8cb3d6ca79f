"""What is merged: adapter directories, each with the factor on what it adds."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """One adapter of those that are merged in a row."""

    directory: Path
    weight: float = 1.0
