import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from rl.shared_prefix import pack, score_group


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


def alone(model: Qwen3ForCausalLM, prompt: list[int], answer: list[int], temperature: float) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1] / temperature
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(answer)[:, None])[:, 0]


PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
ANSWERS = [[7, 8], [7, 9, 3, 2], [40]]


def test_tokens_positions_and_sight_of_a_small_pack() -> None:
    packed = pack([10, 11], [[20, 21], [30]])
    assert packed.ids_S.tolist() == [10, 11, 20, 21, 30]
    assert packed.positions_S.tolist() == [0, 1, 2, 3, 2]
    assert packed.scored_N.tolist() == [1, 2, 1]
    assert packed.targets_N.tolist() == [20, 21, 30]
    assert packed.visible_SS.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_packed_answer_scores_as_it_would_alone(model: Qwen3ForCausalLM, temperature: float) -> None:
    logprobs, entropies = score_group(model, PROMPT, ANSWERS, temperature)
    for answer, scored, entropy in zip(ANSWERS, logprobs, entropies, strict=True):
        torch.testing.assert_close(scored, alone(model, PROMPT, answer, temperature), rtol=1e-5, atol=1e-5)
        assert entropy.shape == scored.shape
        assert not entropy.requires_grad


def test_gradients_equal_those_of_separate_rows(model: Qwen3ForCausalLM) -> None:
    weights = [1.5, -0.5, 2.0]
    model.zero_grad()
    scored, _ = score_group(model, PROMPT, ANSWERS, 1.0)
    torch.stack([w * s.sum() for w, s in zip(weights, scored, strict=True)]).sum().backward()
    packed = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    for weight, answer in zip(weights, ANSWERS, strict=True):
        (weight * alone(model, PROMPT, answer, 1.0).sum()).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(packed[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
