"""The arithmetic of the common dense models without their modules: packed weights, fused projections, few calls.

Llama, Mistral, Qwen2 and Qwen3 differ here only in biases and in the norm of queries and keys. On a CPU most of a small
model's step goes into reading weights in an order that suits no kernel, and into calls; this does less of both.
Shapes: ``N`` tokens, whatever rows they belong to; ``C`` width of the model; ``D`` width of a head.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, rms_norm, silu

FAMILIES = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
ROTATIONS = {"default", "linear", "llama3", "yarn"}
"""Ways of encoding positions in which a position's angles do not depend on the length of the text."""
SPARE = 2
"""Weights are packed, which takes as much memory again, where so many times their size is free."""

Project = Callable[[Tensor], Tensor]
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Layer, queries (N, heads, D), keys and values (N, key heads, D) to what was attended to, (N, heads * D)."""


@dataclass(frozen=True)
class _Layer:
    norm_in: Tensor
    qkv: Project
    norm_heads: Tensor | None
    out: Project
    norm_mlp: Tensor
    gate_up: Project
    down: Project


class DenseNetwork:
    """The forward pass of ``model`` on a copy of its weights; ``load`` takes the copy anew.

    Args:
        model: a causal language model that ``suits``.
        length: most positions of a text.
    """

    def __init__(self, model: Any, length: int) -> None:
        self.model, self.length = model, length
        attention = model.model.layers[0].self_attn
        config = model.config
        self.n_layers, self.width = config.num_hidden_layers, attention.head_dim
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.scale = float(attention.scaling)
        self._eps = config.rms_norm_eps
        self._packed = model.get_output_embeddings().weight.dtype == torch.bfloat16 and _has_room(model)
        cos, sin = model.model.rotary_emb(model.get_input_embeddings().weight[:1], torch.arange(length)[None])
        self._cos, self._sin = cos[0, :, None], sin[0, :, None, : self.width // 2]
        self.load()

    def load(self) -> None:
        """Copy the model's weights into the order in which they are read."""
        self._layers = [self._load_layer(layer) for layer in self.model.model.layers]
        self._norm_out = self.model.model.norm.weight
        self._head = self._project(self.model.get_output_embeddings())

    def _load_layer(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        norm_heads = None
        if hasattr(attention, "q_norm"):
            repeated = [attention.q_norm.weight] * self.heads + [attention.k_norm.weight] * self.key_heads
            norm_heads = torch.stack(repeated)
        return _Layer(
            norm_in=layer.input_layernorm.weight,
            qkv=self._project(attention.q_proj, attention.k_proj, attention.v_proj),
            norm_heads=norm_heads,
            out=self._project(attention.o_proj),
            norm_mlp=layer.post_attention_layernorm.weight,
            gate_up=self._project(mlp.gate_proj, mlp.up_proj),
            down=self._project(mlp.down_proj),
        )

    def _project(self, *modules: nn.Linear) -> Project:
        """One function for linear layers that read the same input; their outputs are side by side."""
        weights = [module.weight.detach() for module in modules]
        bias = None if modules[0].bias is None else torch.cat([module.bias.detach() for module in modules])
        if self._packed:
            packed = torch.ops.mkldnn._reorder_linear_weight(torch.cat(weights), None)
            pointwise = torch.ops.mkldnn._linear_pointwise
            return lambda x: pointwise(x, packed, bias, "none", [], "")
        if len(modules) == 1:
            return lambda x: linear(x, weights[0], bias)
        biases = [None if module.bias is None else module.bias.detach() for module in modules]
        return lambda x: torch.cat([linear(x, weight, b) for weight, b in zip(weights, biases)], -1)

    def forward(self, ids_N: Tensor, positions_N: Tensor, attend: Attend) -> Tensor:
        """Hidden states (N, C) before the last norm; ``attend`` keeps keys and values."""
        count = len(ids_N)
        fill = few(count) - count
        ids_N, positions_N = pad(ids_N, (0, fill)), pad(positions_N, (0, fill))
        cos_N1D, sin_N1D = self._cos[positions_N], self._sin[positions_N]
        x_NC: Tensor = self.model.get_input_embeddings().weight[ids_N]
        for index, layer in enumerate(self._layers):
            qkv = layer.qkv(rms_norm(x_NC, x_NC.shape[-1:], layer.norm_in, self._eps))
            qkv_NHD = qkv.view(len(x_NC), -1, self.width)
            turned = self._turn(qkv_NHD[:, : -self.key_heads], layer.norm_heads, cos_N1D, sin_N1D)
            queries, keys = turned[:count, : self.heads], turned[:count, self.heads :]
            attended_NC = attend(index, queries, keys, qkv_NHD[:count, -self.key_heads :])
            x_NC = layer.out(pad(attended_NC, (0, 0, 0, fill)) if fill else attended_NC).add_(x_NC)
            both = layer.gate_up(rms_norm(x_NC, x_NC.shape[-1:], layer.norm_mlp, self._eps))
            gate, up = both.chunk(2, -1)
            x_NC = layer.down(silu(gate).mul_(up)).add_(x_NC)
        return x_NC[:count]

    def _turn(self, heads_NHD: Tensor, norm: Tensor | None, cos_N1D: Tensor, sin_N1D: Tensor) -> Tensor:
        """Norm and position of queries and keys."""
        if norm is not None:
            heads_NHD = rms_norm(heads_NHD, heads_NHD.shape[-1:], None, self._eps).mul_(norm)
        half = self.width // 2
        turned = heads_NHD * cos_N1D
        turned[..., :half].addcmul_(heads_NHD[..., half:], sin_N1D, value=-1)
        turned[..., half:].addcmul_(heads_NHD[..., :half], sin_N1D)
        return turned

    def logits(self, hidden_NC: Tensor) -> Tensor:
        """Logits (N, V) of hidden states."""
        return self._head(rms_norm(hidden_NC, hidden_NC.shape[-1:], self._norm_out, self._eps))


def few(count: int) -> int:
    """The number of rows, at most a quarter above ``count``, that are computed for so many.

    oneDNN compiles a kernel for each shape, and keeps it: about 1 ms and 0.5 MiB.
    """
    step = 1 << max(0, (count - 1).bit_length() - 3)
    return -(-count // step) * step


def suits(model: Any) -> bool:
    """Whether a model is one of those whose arithmetic this is, with nothing put into it, on a CPU."""
    config = model.config
    rotation: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    return (
        type(model).__name__ in FAMILIES
        and model.device.type == "cpu"
        and getattr(config, "hidden_act", None) == "silu"
        and rotation.get("rope_type", "default") in ROTATIONS
        and rotation.get("partial_rotary_factor", 1.0) == 1.0
        and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        and all(type(module) is nn.Linear for module in _linears(model))
    )


def _linears(model: Any) -> Sequence[Any]:
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head")
    return [module for name, module in model.named_modules() if name.rpartition(".")[2] in names]


def _has_room(model: Any) -> bool:
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return hasattr(torch.ops.mkldnn, "_reorder_linear_weight") and free > SPARE * size
