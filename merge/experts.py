"""Where LoRA on the experts of a layer goes: one tensor for all of them, or files with tensors for each expert.

transformers joins the experts of a layer when it loads a model, and parts them again when it saves one; adapters know
the joined parameter only by the shapes of their factors.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from merge.weights import Stored

Rows = tuple[int, int]
JOINED = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
"""Parameters of a layer of experts, and the tensors of each expert that they join, one above the other."""


@dataclass(frozen=True)
class Piece:
    """What one expert gets: which rows of its update go to which rows of which tensor (none: all)."""

    name: str
    expert: int
    rows: Rows | None = None
    place: Rows | None = None


@dataclass(frozen=True)
class ExpertWeights:
    """The weights of a layer's experts behind one parameter; ``transposed``: stored as (in, out)."""

    parameter: str
    experts: int
    transposed: bool
    pieces: tuple[Piece, ...]


def find_expert_weights(
    tensors: Mapping[str, Stored], module: str, down: tuple[int, ...], up: tuple[int, ...]
) -> ExpertWeights | None:
    """The parameter of ``module`` that factors of these shapes belong to; none if there is not exactly one.

    ``down`` is (rank * experts, in), ``up`` is (out, rank * experts).
    """
    found = [*_joined(tensors, module, down, up), *_apart(tensors, module, down, up)]
    return found[0] if len(found) == 1 else None


def _joined(
    tensors: Mapping[str, Stored], module: str, down: tuple[int, ...], up: tuple[int, ...]
) -> Iterator[ExpertWeights]:
    """One tensor (experts, out, in), or (experts, in, out), for all experts."""
    for name, stored in tensors.items():
        parameter = name.removeprefix(f"{module}.")
        if parameter == name or "." in parameter or len(stored.shape) != 3:
            continue
        experts, first, second = stored.shape
        for transposed, fans in ((False, (second, first)), (True, (first, second))):
            if fans == (down[1], up[0]) and down[0] % experts == 0:
                pieces = (Piece(name, index, None, (index * first, (index + 1) * first)) for index in range(experts))
                yield ExpertWeights(parameter, experts, transposed, tuple(pieces))


def _apart(
    tensors: Mapping[str, Stored], module: str, down: tuple[int, ...], up: tuple[int, ...]
) -> Iterator[ExpertWeights]:
    """Tensors (out, in) of each expert: ``module.3.gate_proj.weight``."""
    numbered = re.compile(rf"{re.escape(module)}\.(\d+)\.(\w+)\.weight")
    matches = [match for match in map(numbered.fullmatch, tensors) if match]
    experts = len({match[1] for match in matches})
    for parameter, names in JOINED.items():
        shapes = {tensors[f"{module}.0.{n}.weight"].shape for n in names if f"{module}.0.{n}.weight" in tensors}
        if len(shapes) != 1:
            continue
        height, width = shapes.pop()
        if (width, height * len(names)) != (down[1], up[0]) or down[0] % experts:
            continue
        pieces = tuple(
            Piece(f"{module}.{expert}.{name}.weight", expert, (part * height, (part + 1) * height))
            for expert in range(experts)
            for part, name in enumerate(names)
        )
        if all(piece.name in tensors for piece in pieces):
            yield ExpertWeights(parameter, experts, False, pieces)
