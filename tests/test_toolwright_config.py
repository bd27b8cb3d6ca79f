import re
from pathlib import Path

import pytest

from toolwright.config import RunConfig
from toolwright.config_file import REPOSITORY, describe_fields, fields, load_config
from toolwright.errors import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.yaml"
    path.write_text(text)
    return path


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")) == RunConfig()


def test_overrides_win_over_the_file_and_the_last_one_wins(tmp_path: Path) -> None:
    path = write(tmp_path, "sft: {lr: 2.0e-4, epochs: 5}\n")
    config = load_config(path, ["sft.lr=1.0e-3", "sft.lr=3e-3", "sft.lora.rank=4"])
    assert (config.sft.lr, config.sft.epochs, config.sft.lora.rank) == (3e-3, 5, 4)


def test_fields_of_peft_and_of_the_trainer_pass_through(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "sft:\n  lora: {use_rslora: true}\n  trainer: {weight_decay: 0.1}\n"))
    assert config.sft.lora.model_extra == {"use_rslora": True}
    assert config.sft.trainer == {"weight_decay": 0.1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 17\nstf: {lr: 1.0}\n", r"some\.yaml:2: unknown key stf; did you mean sft\?"),
        (
            "sft:\n  epochs: 1\n  learing_rate: 1.0\n",
            r"some\.yaml:3: unknown key sft\.learing_rate; did you mean sft\.",
        ),
        ("sft:\n  lr: 1e-4\n", r"some\.yaml:2: sft\.lr: .*number, got '1e-4'; YAML reads this as text: write 1\.0e-04"),
        ("sft:\n  batch_size: '16'\n", r"some\.yaml:2: sft\.batch_size: .*integer, got '16'; remove the quotes"),
        ("sft:\n  batch_size: 0\n", r"some\.yaml:2: sft\.batch_size: .*greater than 0, got 0"),
        ("seed: true\n", r"some\.yaml:1: seed: .*integer, got True"),
        ("sft: {lr: 1.0}\nsft: {lr: 2.0}\n", r"some\.yaml:2: sft is given twice \(first at .*some\.yaml:1\)"),
        ("data_gen:\n  modes: {singel: 1.0}\n", r"some\.yaml:2: data_gen\.modes\.singel.*'single'"),
        ("- a\n- b\n", r"some\.yaml:1: expected `section: …` lines"),
        ("a: [1,\n", r"some\.yaml: not YAML"),
    ],
)
def test_a_wrong_file_is_named_with_line_key_and_value(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sft.lr=abc", r"override 'sft\.lr=abc': sft\.lr: .*number, got 'abc'"),
        ("sft=3", r"override 'sft=3': sft: "),
        ("name.x=3", r"override 'name\.x=3': name is 'tiny', not a section"),
        (".lr=3", r"expected section\.key=value"),
        ("rl.group_size=1", r"rl\.group_size: .*greater than or equal to 2, got 1"),
        ("name=../x", r"name: "),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, "name: tiny\n"), [override])


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: No such file"):
        load_config(Path("absent.yaml"))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_help_shows_every_key_of_a_section_with_a_description() -> None:
    text = describe_fields(["sft"])
    for key, field in fields():
        assert field.description or key[-1] in ("teacher", "lora", "tools", *RunConfig.model_fields), key
        if key[0] == "sft" and len(key) == 2 and key[1] != "lora":
            assert re.search(rf"^  {re.escape('.'.join(key))} = ", text, re.MULTILINE), key
    assert "rl.steps" not in text
