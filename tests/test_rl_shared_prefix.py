import copy

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from rl.shared_prefix import score_answers
from toolwright.segment_attention import use_segments


@pytest.fixture(scope="module")
def model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=128,
    )
    return Qwen3ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def packed_model(model: Qwen3ForCausalLM) -> Qwen3ForCausalLM:
    packed = copy.deepcopy(model)
    assert use_segments(packed) is None
    return packed


def alone(model: Qwen3ForCausalLM, prompt: list[int], answer: list[int], temperature: float) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1] / temperature
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(answer)[:, None])[:, 0]


PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
ANSWERS = [[7, 8], [7, 9, 3, 2], [40], [7, 8]]
OTHER = [3, 1, 4, 2]
PAIRS = [(PROMPT, ANSWERS[0]), (OTHER, [5, 5, 5]), *((PROMPT, answer) for answer in ANSWERS[1:])]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_an_answer_scores_as_it_would_alone(
    model: Qwen3ForCausalLM, packed_model: Qwen3ForCausalLM, temperature: float
) -> None:
    """Two of the answers are the same, some begin alike, and one has another prompt."""
    logprobs, entropies = score_answers(packed_model, PAIRS, temperature, min_shared=1)
    for (prompt, answer), scored, entropy in zip(PAIRS, logprobs, entropies, strict=True):
        torch.testing.assert_close(scored, alone(model, prompt, answer, temperature), rtol=1e-5, atol=1e-5)
        assert entropy.shape == scored.shape
        assert not entropy.requires_grad


def test_gradients_equal_those_of_separate_rows(model: Qwen3ForCausalLM, packed_model: Qwen3ForCausalLM) -> None:
    weights = [1.5, -0.5, 2.0, 0.25, 3.0]
    packed_model.zero_grad()
    scored, _ = score_answers(packed_model, PAIRS, 1.0, min_shared=1)
    torch.stack([w * s.sum() for w, s in zip(weights, scored, strict=True)]).sum().backward()
    packed = {name: p.grad.clone() for name, p in packed_model.named_parameters()}
    model.zero_grad()
    for weight, (prompt, answer) in zip(weights, PAIRS, strict=True):
        (weight * alone(model, prompt, answer, 1.0).sum()).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(packed[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
