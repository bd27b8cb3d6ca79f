"""The proof that a merged model says what base and adapters say, and what makes it fail."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import family_tokenizer, template_names
from merging import convert, make_adapter, merged
from safetensors.torch import load_file, save_file

from merge.adapter import Source
from merge.greedy import MOST_TOKENS, render_prompts, terminator
from merge.parity import Parity, compare, main
from merge.prompts import PROMPTS
from merge.reference import load_reference
from toolwright.errors import ModelError
from toolwright.model import load_model, load_tokenizer, quiet_libraries

METHODS = ["logits", "layers"]
TOLERANCE = 0.25
UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    quiet_libraries()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Path:
    """A small model in bfloat16 with a head of its own."""
    directory = tmp_path_factory.mktemp("base")
    return convert(make_model(directory / "float32", tie_word_embeddings=False), directory / "model", "bfloat16", "5GB")


@pytest.fixture(scope="module")
def source(base: Path) -> Source:
    return Source(make_adapter(base, base.parent / "adapter"))


@pytest.fixture(scope="module")
def right(base: Path, source: Source) -> Path:
    merged(base, base.parent / "merged", source)
    return base.parent / "merged"


@pytest.fixture
def copy(tmp_path: Path, right: Path) -> Path:
    """A copy of the right result, to do things to."""
    return Path(shutil.copytree(right, tmp_path / "merged"))


def measure(base: Path, source: Source, result: Path, method: Any, tolerance: float = TOLERANCE) -> Parity:
    return compare(str(base), [source], result, tolerance=tolerance, method=method)


def test_both_methods_find_a_right_merge_right(base: Path, source: Source, right: Path) -> None:
    found = {method: measure(base, source, right, method) for method in METHODS}
    size = sum(tensor.numel() for tensor in load_file(base / "model.safetensors").values())
    for method, parity in found.items():
        assert (parity.passed, parity.why, parity.method) == (True, "", method)
        assert parity.greedy_identical or parity.largest_flip_margin <= TOLERANCE
        assert 0 < parity.mean_abs_logit_diff < parity.max_abs_logit_diff < 0.1
        assert parity.computed_in == "float32"
        assert parity.files_identical
        assert parity.warnings == []
        assert parity.weights is not None
        assert (parity.weights.wrong, parity.weights.changed, parity.weights.first) == (0, 14, "")
        assert parity.weights.elements == size
    assert found["logits"].weights == found["layers"].weights
    assert found["layers"].continuations == []
    assert len(found["logits"].continuations) == len(PROMPTS)


def test_what_fits_into_memory_is_compared_whole_and_what_does_not_by_layers(
    base: Path, source: Source, right: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measure(base, source, right, "auto").method == "logits"
    monkeypatch.setattr("merge.measure._LEAST_ROOM", 2**60)
    assert measure(base, source, right, "auto").method == "layers"


def change(directory: Path, name: str, how: Callable[[torch.Tensor], torch.Tensor]) -> None:
    path = directory / "model.safetensors"
    tensors = load_file(path)
    tensors[name] = how(tensors[name].clone())
    save_file(tensors, path, metadata={"format": "pt"})


def nudge(tensor: torch.Tensor) -> torch.Tensor:
    """The largest element by three parts in a hundred: more than any rounding to bfloat16."""
    index = tensor.float().abs().argmax()
    tensor.view(-1)[index] *= 1.03
    return tensor


def swap_rows(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[[1, 0, *range(2, len(tensor))]]


def poison(tensor: torch.Tensor) -> torch.Tensor:
    tensor[0, 0] = torch.nan
    return tensor


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("name", "how", "by_logits"),
    [
        (UP, nudge, False),
        ("model.norm.weight", nudge, False),
        (UP, swap_rows, False),
        ("model.embed_tokens.weight", swap_rows, False),
        ("lm_head.weight", torch.zeros_like, True),
        (UP, poison, True),
    ],
)
def test_a_wrong_weight_is_caught(
    base: Path, source: Source, copy: Path, method: str, name: str, how: Any, by_logits: bool
) -> None:
    change(copy, name, how)
    parity = measure(base, source, copy, method)
    assert not parity.passed
    assert parity.weights is not None
    assert parity.weights.wrong >= 1
    assert parity.weights.first == name
    assert f"first in {name}" in parity.why
    assert ("largest logit difference" in parity.why) or not by_logits
    json.dumps(parity.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_that_was_left_out_is_caught_by_logits_as_well(
    base: Path, source: Source, copy: Path, method: str
) -> None:
    own = load_file(base / "model.safetensors")
    for name in own:
        if "layers.1." in name:
            change(copy, name, lambda _, name=name: own[name])  # type: ignore[misc]
    parity = measure(base, source, copy, method, 0.01)
    assert not parity.passed
    assert parity.max_abs_logit_diff > 0.01
    assert parity.weights is not None
    assert parity.weights.first.startswith("model.layers.1.")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json"])
def test_a_changed_byte_of_tokenizer_or_template_is_caught(
    base: Path, source: Source, copy: Path, method: str, name: str
) -> None:
    with (copy / name).open("a") as stream:
        stream.write("\n")
    parity = measure(base, source, copy, method)
    assert (parity.passed, parity.files_identical) == (False, False)
    assert parity.why == f"not as trained: {name}"
    assert parity.sha256[name]["trained"] != parity.sha256[name]["merged"]


def test_a_template_beside_the_trained_one_is_caught(base: Path, source: Source, copy: Path) -> None:
    (copy / "chat_template.json").write_text("{}")
    parity = measure(base, source, copy, "logits")
    assert parity.sha256["chat_template.json"]["trained"] == "absent"
    assert parity.why == "not as trained: chat_template.json"


def test_an_adapter_without_a_tokenizer_was_trained_with_that_of_the_base(
    tmp_path: Path, base: Path, source: Source, copy: Path
) -> None:
    bare = Path(shutil.copytree(source.directory, tmp_path / "adapter"))
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (bare / file).unlink()
        shutil.copy(base / file, copy / file)
    assert measure(base, Source(bare), copy, "layers").passed
    with (copy / "chat_template.jinja").open("a") as stream:
        stream.write(" ")
    assert not measure(base, Source(bare), copy, "layers").files_identical


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_with_another_weight_is_caught(tmp_path: Path, base: Path, source: Source, method: Any) -> None:
    second = make_adapter(base, tmp_path / "second", seed=2, target_modules=["q_proj", "down_proj"])
    sources = [source, Source(second, 0.5)]
    merged(base, tmp_path / "merged", *sources)
    assert compare(str(base), sources, tmp_path / "merged", tolerance=TOLERANCE, method=method).passed
    for wrong in ([source], [source, Source(second, 0.6)], [Source(source.directory, 0.9), sources[1]]):
        parity = compare(str(base), wrong, tmp_path / "merged", tolerance=TOLERANCE, method=method)
        assert not parity.passed
        assert "not what PEFT makes of them" in parity.why


@pytest.mark.parametrize("tied", [True, False])
def test_a_resized_vocabulary_is_compared_whole(tmp_path: Path, make_model: Callable[..., Path], tied: bool) -> None:
    base = make_model(tmp_path / "base", tie_word_embeddings=tied)
    model = load_model(base)
    model.resize_token_embeddings(model.config.vocab_size + 8)
    source = Source(make_adapter(base, tmp_path / "adapter", model=model))
    merged(base, tmp_path / "merged", source)
    parity = measure(base, source, tmp_path / "merged", "auto")
    assert (parity.passed, parity.why, parity.method) == (True, "", "logits")
    assert parity.weights is None
    assert "vocabulary" in parity.warnings[0]
    with pytest.raises(ModelError, match=r"vocabulary.*merge\.parity=logits"):
        measure(base, source, tmp_path / "merged", "layers")


def test_replies_are_greedy_and_their_leads_are_those_of_the_logits(base: Path, source: Source, right: Path) -> None:
    continuations = measure(base, source, right, "logits").continuations
    tokenizer = load_tokenizer(source.directory)
    model = load_reference(str(base), [source], "float32")
    for rendered, reply in list(zip(render_prompts(tokenizer), continuations, strict=True))[:3]:
        assert reply.messages == [message.to_openai() for message in rendered.prompt.messages]
        assert reply.tools == [tool.to_openai() for tool in rendered.prompt.tools]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*rendered.ids, *reply.ids]])).logits[0, len(rendered.ids) - 1 : -1]
        best = logits.topk(2).values
        assert logits.argmax(-1).tolist() == reply.ids
        assert (best[:, 0] - best[:, 1]).min().item() == pytest.approx(reply.margin, abs=1e-4)
        ended = reply.ids[-1] == tokenizer.eos_token_id
        assert ended or len(reply.ids) == MOST_TOKENS
        assert reply.text == tokenizer.decode(reply.ids[:-1] if ended else reply.ids)


def test_another_reply_is_forgiven_only_near_a_tie(base: Path, source: Source, copy: Path) -> None:
    change(copy, "lm_head.weight", lambda head: head.roll(1, 0))  # each token says the next
    apart = measure(base, source, copy, "logits")
    assert not apart.greedy_identical
    assert apart.flips > 0
    strict = measure(base, source, copy, "logits", apart.largest_flip_margin / 1e6)
    assert "other greedy choices where the reference is sure" in strict.why
    loose = measure(base, source, copy, "logits", 1e6)
    assert not loose.greedy_identical
    assert "greedy" not in loose.why


def test_a_model_that_will_not_stop_is_warned_of(base: Path, source: Source, copy: Path) -> None:
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": 5}))
    parity = measure(base, source, copy, "layers")
    assert parity.passed
    assert "ends an assistant's turn with <|im_end|>" in parity.warnings[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_weight_is_named(base: Path, source: Source, copy: Path, method: str) -> None:
    tensors = load_file(copy / "model.safetensors")
    del tensors[UP]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=UP):
        measure(base, source, copy, method)


@pytest.mark.parametrize("family", template_names())
def test_templates_of_all_families_take_the_prompts(family: str) -> None:
    tokenizer = family_tokenizer(family)
    try:
        rendered = render_prompts(tokenizer)
    except ModelError:
        pytest.skip(f"{family}: takes none of them, and says so")
    assert len(rendered) >= 4
    for one in rendered:
        assert one.text
        assert len(one.with_answer) > 5
        assert one.with_answer != one.ids


def test_the_terminator_of_a_template_is_found() -> None:
    assert terminator(family_tokenizer("qwen3")) == "<|im_end|>"
    assert terminator(family_tokenizer("llama3")) == "<|eot_id|>"


def words(tmp_path: Path, base: Path, source: Source, result: Path) -> list[str]:
    return [
        f"model={base}",
        f"runs_dir={tmp_path}/runs",
        "name=t",
        "threads=1",
        *("--base", str(base), "--adapter", str(source.directory), "--out", str(result)),
    ]


def test_the_command_measures_again_and_keeps_what_the_merge_wrote(
    tmp_path: Path, base: Path, source: Source, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "merged.parity.json"
    path.write_text(json.dumps({"passed": False, "applied": {"adapter_tensors": 28}}))
    assert main(words(tmp_path, base, source, copy)) == 0
    assert "largest logit difference 0.0" in capsys.readouterr().out
    written = json.loads(path.read_text())
    assert (written["passed"], written["applied"], written["method"]) == (True, {"adapter_tensors": 28}, "logits")
    assert written["continuations"][0]["tools"][0]["function"]["name"] == "get_weather"
    change(copy, UP, nudge)
    assert main([*words(tmp_path, base, source, copy), "merge.parity=layers"]) == 1
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert f"first in {UP}" in error
    written = json.loads(path.read_text())
    assert (written["passed"], written["method"]) == (False, "layers")


def test_mistakes_of_a_user_are_one_line(
    tmp_path: Path, base: Path, source: Source, right: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path, base, source, tmp_path / "nowhere")) == 2
    assert "no merged model there; make it with: python -m merge" in capsys.readouterr().err
    assert main(words(tmp_path, base, Source(base), right)) == 2
    assert "not an adapter directory" in capsys.readouterr().err
    broken = Path(shutil.copytree(right, tmp_path / "broken"))
    (broken / "config.json").write_text("{")
    assert main(words(tmp_path, base, source, broken)) == 2
    assert f"{broken}: transformers cannot read its config.json" in capsys.readouterr().err
