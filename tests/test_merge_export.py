"""Exports, through stand-ins for llama.cpp and llm-compressor.

LLMCOMPRESSOR_PYTHON, a Python that has llm-compressor, turns on the real one.
"""

import json
import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from merge.children import run_child
from merge.export import main
from merge.gguf_file import read_gguf
from toolwright.artifacts import manifest_path, read_manifest
from toolwright.errors import ModelError
from toolwright.model import load_tokenizer

CONVERTER = '''
"""Stands in for llama.cpp's converter: the same arguments, a file of the same form."""
import argparse, json, struct, sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("model", type=Path)
parser.add_argument("--outfile", type=Path)
parser.add_argument("--outtype")
args = parser.parse_args()
print("INFO: converting", args.model)
template = (args.model / "chat_template.jinja").read_text()
{mischief}
header = json.loads((args.model / "model.safetensors").read_bytes()[8:].split(b"}}}}")[0] + b"}}}}")
shapes = {{name: row["shape"] for name, row in header.items() if name != "__metadata__"}}
text = lambda value: struct.pack("<Q", len(value.encode())) + value.encode()
pairs = [("general.architecture", "qwen3"), ("tokenizer.chat_template", template)]
out = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(pairs) + 1)
out += b"".join(text(name) + struct.pack("<I", 8) + text(value) for name, value in pairs)
out += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
at, size = 0, {{"f16": 2, "bf16": 2, "f32": 4}}[args.outtype]
for name, shape in shapes.items():
    out += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{{len(shape)}}Q", *reversed(shape))
    out += struct.pack("<IQ", {{"f16": 1, "bf16": 30, "f32": 0}}[args.outtype], at)
    count = 1
    for side in shape:
        count *= side
    at += -(-count * size // 32) * 32
args.outfile.write_bytes(out + b"\\0" * (-len(out) % 32 + at))
'''


def converter(directory: Path, mischief: str = "") -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "convert_hf_to_gguf.py").write_text(CONVERTER.format(mischief=mischief))
    return directory


def test_a_model_becomes_a_gguf_file_that_reads_back(
    tmp_path: Path, small_model_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkout, out = converter(tmp_path / "llama.cpp"), tmp_path / "out.gguf"
    words = ["--model", str(small_model_dir), "--out", str(out), "--converter", str(checkout), "--type", "f16"]
    assert main(words) == 0
    shown = capfd.readouterr()
    assert "export: 24 tensors" in shown.out
    assert "chat template identical" in shown.out
    assert "INFO: converting" in shown.err
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest.settings == {"to": "gguf", "gguf_type": "f16"}
    assert manifest.counts["numbers"] == manifest.counts["numbers_of_model"]
    assert main(words) == 0
    assert "up to date" in capfd.readouterr().out
    assert main([*words, "--type", "f32"]) == 0  # other settings: made anew
    assert {kind for _, kind in read_gguf(out).tensors.values()} == {0}


@pytest.mark.parametrize("where", ["environment", "path"])
def test_a_converter_is_found_without_being_named(
    tmp_path: Path, small_model_dir: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    checkout = converter(tmp_path / "llama.cpp")
    if where == "environment":
        monkeypatch.setenv("LLAMA_CPP", str(checkout))
    else:
        monkeypatch.delenv("LLAMA_CPP", raising=False)
        (checkout / "convert_hf_to_gguf.py").chmod(0o755)
        monkeypatch.setenv("PATH", f"{checkout}:{os.environ['PATH']}")
    assert main(["--model", str(small_model_dir), "--out", str(tmp_path / "out.gguf")]) == 0


def test_without_a_converter_the_lines_that_get_it_are_printed(
    tmp_path: Path, small_model_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "out.gguf"
    assert main(["--model", str(small_model_dir), "--out", str(out)]) == 2
    shown = capsys.readouterr()
    assert "git clone" in shown.out
    assert f"convert_hf_to_gguf.py {small_model_dir} --outfile {out} --outtype bf16" in shown.out
    assert shown.err.count("\n") == 1
    assert "export.converter=llama.cpp" in shown.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("mischief", "says"),
    [
        ("template = template[:-40]", "another chat template"),
        ("raise NotImplementedError('BPE pre-tokenizer was not recognized - update')", "tokenizers of published"),
        ("import module_that_nobody_has", "install that module"),
        ("sys.exit(3)", "exit code 3: INFO: converting"),
        ("sys.exit(0)", "wrote no file"),
        ("args.outfile.write_bytes(b'GGUF'); sys.exit(0)", "cut short"),
        ("args.outfile.write_bytes(b'PK'); sys.exit(0)", "not a GGUF file"),
    ],
)
def test_a_converter_that_fails_leaves_nothing_and_says_why(
    tmp_path: Path, small_model_dir: Path, capfd: pytest.CaptureFixture[str], mischief: str, says: str
) -> None:
    out = tmp_path / "out" / "x.gguf"
    checkout = converter(tmp_path / "llama.cpp", mischief)
    assert main(["--model", str(small_model_dir), "--out", str(out), "--converter", str(checkout)]) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert says in last
    assert [path.name for path in out.parent.iterdir()] == [".x.gguf.lock"]


def test_a_file_that_was_cut_short_is_noticed(tmp_path: Path, small_model_dir: Path) -> None:
    checkout, out = converter(tmp_path / "llama.cpp"), tmp_path / "out.gguf"
    assert main(["--model", str(small_model_dir), "--out", str(out), "--converter", str(checkout)]) == 0
    data = out.read_bytes()
    for length in (len(data) - 32, 200, 10, 0):
        out.write_bytes(data[:length])
        with pytest.raises(ModelError, match=r"cut short|not a GGUF file"):
            read_gguf(out)
    out.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 2**62))
    with pytest.raises(ModelError, match="cut short"):
        read_gguf(out)


def test_lines_to_paste_quote_what_has_blanks(
    tmp_path: Path, small_model_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--model", str(small_model_dir), "--out", str(tmp_path / "a model.gguf")]) == 2
    assert f"--outfile '{tmp_path}/a model.gguf' --outtype bf16" in capsys.readouterr().out


def test_a_place_below_a_file_is_one_line(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    words = ["--model", str(small_model_dir), "--converter", str(converter(tmp_path / "llama.cpp"))]
    assert main([*words, "--out", str(tmp_path / "file/out.gguf")]) == 2
    assert capsys.readouterr().err.endswith("cannot be made (File exists); name another place: --out PATH\n")


def test_what_others_made_is_not_written_over(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.gguf").write_text("mine")
    checkout = converter(tmp_path / "llama.cpp")
    words = ["--model", str(small_model_dir), "--converter", str(checkout)]
    assert main([*words, "--out", str(tmp_path / "out.gguf")]) == 2
    assert "did not make it" in capsys.readouterr().err
    assert (tmp_path / "out.gguf").read_text() == "mine"
    assert main([*words, "--out", str(small_model_dir / "out.gguf")]) == 2
    assert "in the model's own directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", "nowhere"], "not a model directory"),
        (["name=never"], "python -m merge"),
        (["--model", "models/tiny", "--converter", "nowhere"], "holds no convert_hf_to_gguf.py"),
        (["--model", "models/tiny", "--to", "fp8", "--python", "nowhere"], "is no program"),
        (["--model", "models/tiny", "--to", "int3"], "export.to"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    assert main([f"runs_dir={tmp_path}", "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


def test_a_child_that_is_killed_is_named() -> None:
    with pytest.raises(ModelError, match="exit code -9"):
        run_child([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], {})


COMPRESSOR: Mapping[str, str] = {
    "llmcompressor/__init__.py": '''
"""Stands in for llm-compressor: rounds nothing, and marks the model as quantised."""
import json
from pathlib import Path


def oneshot(*, model, recipe, **options):
    save = model.save_pretrained

    def save_compressed(directory, save_compressed):
        save(directory)
        path = Path(directory) / "config.json"
        found = {"quant_method": "stand-in", "recipe": str(recipe), "rows": len(options.get("dataset") or ())}
        path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": found}))
        (Path(directory) / "recipe.yaml").write_text("x")

    model.save_pretrained = save_compressed
''',
    "llmcompressor/modifiers/__init__.py": "",
    "llmcompressor/modifiers/quantization.py": """
class QuantizationModifier(dict):
    def __init__(self, **settings):
        super().__init__(settings)


class GPTQModifier(QuantizationModifier):
    pass
""",
    "llmcompressor/modifiers/transform/__init__.py": "",
    "llmcompressor/modifiers/transform/awq.py": "AWQModifier = dict",
    "llmcompressor-0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: llmcompressor\nVersion: 0.0\n",
    "compressed_tensors-0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: compressed-tensors\nVersion: 0.0\n",
}


def compressor_python(directory: Path) -> Path:
    """This Python, with the stand-in."""
    for name, text in COMPRESSOR.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    program = directory / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={directory} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return program


def run_with_conversations(tmp_path: Path) -> list[str]:
    """A run with a ``train.jsonl`` of three rows."""
    from toolwright.artifacts import write_rows
    from toolwright.config_file import load_config
    from toolwright.stage import Job

    words = [f"runs_dir={tmp_path}/runs", "name=t", "threads=1"]
    tool = {"type": "function", "function": {"name": "add", "description": "", "parameters": {"type": "object"}}}
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    row = {"messages": messages, "tools": json.dumps([tool]), "mode": "no_tool"}
    job = Job.of(load_config(None, words), "split", output="train.jsonl", command="c", settings={})
    with job.running():
        write_rows(job.output, [{**row, "id": f"q{number}"} for number in range(3)])
    return words


@pytest.mark.parametrize("to", ["fp8", "gptq", "awq"])
def test_a_model_is_quantised_in_another_environment(
    tmp_path: Path, small_model_dir: Path, capfd: pytest.CaptureFixture[str], to: str
) -> None:
    named = os.environ.get("LLMCOMPRESSOR_PYTHON")
    out, python = tmp_path / "out", Path(named) if named else compressor_python(tmp_path / "env")
    words = run_with_conversations(tmp_path)
    words += ["--to", to, "--model", str(small_model_dir), "--out", str(out), "--python", str(python)]
    assert main(words) == 0
    shown = capfd.readouterr()
    assert "greedy answers the same on " in shown.out
    settings = json.loads((out / "config.json").read_text())["quantization_config"]
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (small_model_dir / name).read_bytes()
    assert not (out / "recipe.yaml").exists()
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest.counts["prompts"] == 9
    assert manifest.counts["calibrated_on"] == (0 if to == "fp8" else 3)
    assert "llm-compressor" in (out / "README.md").read_text()
    assert load_tokenizer(out).chat_template
    if not named:
        assert manifest.counts["same_answers"] == 9
        assert settings["rows"] == manifest.counts["calibrated_on"]
        assert ("'group_size': 32" in settings["recipe"]) == (to != "fp8")


def test_without_llm_compressor_the_line_that_installs_it_is_named(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--to", "fp8", "--model", str(small_model_dir), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "pip install llmcompressor" in error
    assert "export.python=" in error
    assert not manifest_path(tmp_path / "out").exists()


def test_calibration_needs_conversations(
    tmp_path: Path, small_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = compressor_python(tmp_path / "env")
    words = ["--to", "awq", "--model", str(small_model_dir), "--out", str(tmp_path / "out"), "--python", str(python)]
    assert main([f"runs_dir={tmp_path}", *words]) == 2
    assert "python -m data_gen.split" in capsys.readouterr().err
