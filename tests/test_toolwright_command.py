import errno
from pathlib import Path

import pytest

from toolwright.cli import main
from toolwright.command import Flag, Option, parse_command, parse_with_options, run_command
from toolwright.config import RunConfig
from toolwright.errors import DataError

FLAGS = (
    Flag(("-n", "--n-questions"), "data_gen.n_questions", "questions to write"),
    Flag(("--check",), "serve.check", "check and exit", switch=True),
)


def parse(*argv: str) -> RunConfig:
    return parse_command(argv, prog="x", about="y", sections=["data_gen"], flags=FLAGS)


def test_flags_are_short_names_of_keys_and_win() -> None:
    assert parse("data_gen.n_questions=5", "-n", "7").data_gen.n_questions == 7
    assert parse("--check").serve.check is True
    assert parse().serve.check is False


@pytest.mark.parametrize("text", ["::", "0123", "null", "yes", "1e3", "a: b", "[x", '"q"'])
def test_what_stands_after_the_flag_of_a_text_is_meant_literally(text: str) -> None:
    flags = [Flag(("--out",), "merge.out", "place"), Flag(("--host",), "serve.host", "address")]
    config = parse_command(["--out", text, "--host", text], prog="x", about="y", sections=[], flags=flags)
    assert (config.merge.out, config.serve.host) == (text, text)


def test_file_overrides_and_flags_may_come_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: other\n")
    config = parse("seed=3", "-n", "7", str(path))
    assert (config.name, config.seed, config.data_gen.n_questions) == ("other", 3, 7)


@pytest.mark.parametrize("argv", [["-n", "many"], ["a.yaml", "b.yaml"], ["absent.yaml"], ["sedd=1"]])
def test_a_mistake_is_one_line_and_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: parse(*argv) and None) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_full_disk_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x")

    assert run_command(body) == 2
    assert capsys.readouterr().err.startswith("error: runs/x: No space left on device; free space")


def test_a_bug_is_not_dressed_up_as_a_mistake() -> None:
    def body() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        run_command(body)


def test_a_multi_line_message_is_shown_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        raise DataError("one\ntwo")

    assert run_command(body) == 2
    assert capsys.readouterr().err == "error: one two\n"


def test_help_shows_keys_with_defaults_and_units(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "data_gen.n_questions = 200  (int)" in text
    assert "deadline of one request (seconds)" in text


@pytest.mark.parametrize(("argv", "code"), [([], 0), (["--help"], 0), (["rnu"], 2), (["run", "absent.yaml"], 2)])
def test_the_toolwright_command_ends_with_the_right_code(argv: list[str], code: int) -> None:
    assert main(argv) == code


def test_the_doctor_reports_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "python" in text
    assert "cores" in text


def test_a_command_may_take_a_file_and_options_of_its_own() -> None:
    options = (Option("--rows", "how many", int, 20), Option("--out", "where"))
    config, values = parse_with_options(
        ["my data.jsonl", "seed=3", "--rows", "5"],
        prog="x",
        about="y",
        sections=["sft"],
        options=options,
        file_key="sft.data",
    )
    assert (config.sft.data, config.seed, values) == ("my data.jsonl", 3, {"rows": 5, "out": None})
