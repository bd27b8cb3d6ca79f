"""``toolwright verify RUN``: proves anew that adapter, merged model and served model give the same, in one receipt.

RUN is a run's directory or a configuration. Checks that the hashes of base, adapters, merged model and what is served
form a chain; measures base and adapters against the merged model (``python -m merge.parity``), and the merged model
against what a server gives (``python -m serve --check``), each in a process of its own. Writes ``verify.json`` beside
the merged model, and its content into the model's card. Exit code 1: something does not agree.
"""

import json
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from toolwright.artifacts import Manifest, fingerprint, read_manifest, require, write_text
from toolwright.command import parse_command, run_command
from toolwright.config import RunConfig
from toolwright.config_file import find_file
from toolwright.errors import ConfigError, StageError
from toolwright.recall import MADE_BY, adapter_inputs, base_hash, made_by, named_adapters, named_base, recall_run
from toolwright.serving_process import end_with_parent
from toolwright.stage import package_versions, run_dir

FAILED = 1
STOP_S = 60.0
_STDERR = 2
_ENGINES = {"transformers": "toolwright's own server"}
"""Engines whose version is not that of what they are called by."""
MEASURE = ("-m", "merge.parity")
SERVE = ("-m", "serve")
CARD = ("-m", "merge.card")


class Check(NamedTuple):
    """One link of the proof: what was looked at, whether it holds, what was found, and what to run if it does not."""

    name: str
    passed: bool
    found: str
    next: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``toolwright verify``."""
    return run_command(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(words: list[str]) -> int:
    words = with_run(words)
    config = parse_command(words, prog="toolwright verify [RUN]", about=__doc__ or "", sections=("merge", "serve"))
    merged = merged_dir(config)
    manifest = require(merged, made_by=made_by("merge", words))
    checks, hashes = check_chain(config, merged, manifest)
    parity: dict[str, Any] = {}
    served: dict[str, Any] = {}
    if all(check.passed for check in checks):
        parity = measure_parity(words, beside(merged, config, "parity.json"))
        checks += judge_parity(parity, merged)
        served = try_server(words, merged)
        checks += judge_served(served, hashes["merged"], bool(parity.get("continuations")))
    passed = bool(served) and all(check.passed for check in checks)
    receipt = {
        "passed": passed,
        "run": config.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": hashes,
        "checks": [check._asdict() for check in checks],
        "parity": {key: value for key, value in parity.items() if key not in ("continuations", "applied")},
        "served": served,
        "packages": package_versions(),
    }
    path = beside(merged, config, "verify.json")
    write_text(path, json.dumps(receipt, indent=2, ensure_ascii=False) + "\n")
    _show(checks, words)
    print(f"verify: {'passed' if passed else 'FAILED'} -> {path}", flush=True)
    argv = [sys.executable, *CARD, *words]
    if _start(argv):
        raise StageError(f"{merged}: its card could not be written, see above; mend it and run: {_shown(argv)}")
    return 0 if passed else FAILED


def with_run(words: Sequence[str]) -> list[str]:
    """The words with a run's directory replaced by what it says of itself; what else is given wins over that.

    Raises:
        ConfigError, ArtifactError: the directory holds no finished merge, or it does not say what it was made from.
    """
    named = [word for word in words if not word.startswith("-") and "=" not in word]
    for word in named:
        if not find_file(Path(word)).exists():
            raise ConfigError(f"{word}: neither a run's directory nor a configuration file; name one of them")
    runs = [word for word in named if find_file(Path(word)).is_dir()]
    if not runs:
        return list(words)
    if len(named) > 1:
        raise ConfigError(f"one run or configuration at a time, got {', '.join(named)}")
    rest = [word for word in words if word != runs[0]]
    given = {word.partition("=")[0] for word in rest if "=" in word}
    return [*recall_run(find_file(Path(runs[0])), given), *rest]


def merged_dir(config: RunConfig) -> Path:
    """Where the merged model of a configuration is."""
    return Path(config.merge.out) if config.merge.out else run_dir(config) / "merged"


def beside(merged: Path, config: RunConfig, name: str) -> Path:
    """A file about the merged model: of a run in its directory, else with the model's name before it."""
    return merged.with_name(f"{merged.name}.{name}" if config.merge.out else name)


def check_chain(config: RunConfig, merged: Path, manifest: Manifest) -> tuple[list[Check], dict[str, str]]:
    """Whether each hash in the manifest of the merged model is that of what is there now; and those hashes.

    Raises:
        ArtifactError: an adapter is not there.
    """
    adapters = named_adapters(config)
    base = named_base(config, adapters)
    hashes = {"base": base_hash(base), "merged": manifest.sha256}
    same = hashes["base"] == manifest.inputs.get("model")
    checks = [Check("base is the one merged into", same, f"{_short(base)}, {_hash(hashes['base'])}", "python -m merge")]
    recorded = list(adapter_inputs(manifest.inputs).values())
    if len(adapters) != len(recorded):
        found = f"{len(recorded)} adapters were merged, the configuration names {len(adapters)}"
        return [*checks, Check("adapters are those merged", False, found, "python -m merge")], hashes
    for number, ((name, path), sha256) in enumerate(zip(adapters, recorded, strict=True), start=1):
        key = "adapter" if number == 1 else f"adapter_{number}"
        hashes[key] = fingerprint(path)
        checks.append(_trained(name, path, hashes))
        agree = hashes[key] == sha256
        checks.append(Check(f"{_short(name)} is the adapter merged", agree, _hash(hashes[key]), "python -m merge"))
    for file in ("chat_template.jinja", "tokenizer.json"):
        if (merged / file).is_file():
            hashes[file] = fingerprint(merged / file)
    return checks, hashes


def _trained(name: str, path: Path, hashes: Mapping[str, str]) -> Check:
    """Whether an adapter is as its training left it, on this base."""
    trained, again, name = read_manifest(path), MADE_BY.get(name, "python -m sft.train"), _short(name)
    if trained is None:
        return Check(f"{name} as trained", True, "no manifest: trained elsewhere")
    if trained.sha256 != fingerprint(path):
        return Check(f"{name} as trained", False, "changed after training", again)
    on_base = trained.inputs.get("model") in (None, hashes["base"])
    return Check(f"{name} as trained", on_base, "on this base" if on_base else "on another base", again)


def measure_parity(words: Sequence[str], path: Path) -> dict[str, Any]:
    """Base and adapters against the merged model, measured now.

    Raises:
        StageError: it could not be measured.
    """
    before = path.stat().st_mtime_ns if path.is_file() else None
    argv = [sys.executable, *MEASURE, *words]
    code = _start(argv)
    found = _read(path, argv, code)
    if path.stat().st_mtime_ns == before:
        raise StageError(f"{path}: was not measured anew; run: {_shown(argv)}")
    return found


def judge_parity(parity: Mapping[str, Any], merged: Path) -> list[Check]:
    """The measurement as links of the proof."""
    found = (
        f"largest difference of logits {parity['max_abs_logit_diff']} (accepted {parity['tolerance']}), "
        f"{parity['flips']} of {parity['positions']} tokens chosen otherwise"
    )
    files: Mapping[str, Mapping[str, str]] = parity["sha256"]
    odd = [
        name
        for name, sides in files.items()
        if len({*sides.values(), fingerprint(merged / name) if (merged / name).is_file() else "absent"}) != 1
    ]
    what = f"differ: {', '.join(odd)}" if odd else f"{len(files)} files, identical to the trained ones"
    again = "python -m merge.parity"
    return [
        Check("adapter and merged model agree", bool(parity["passed"]), found, again),
        Check("tokenizer and chat template", not odd and bool(files), what, again),
    ]


def try_server(words: Sequence[str], merged: Path) -> dict[str, Any]:
    """Serve the merged model as the configuration says, on a free port, and read what its own check found.

    Raises:
        StageError: it could not be served.
    """
    with tempfile.TemporaryDirectory(prefix="toolwright-") as folder:
        path = Path(folder) / "receipt.json"
        ours = [f"serve.model={merged.absolute()}", "serve.adapter=null", "serve.port=0", f"serve.receipt={path}"]
        argv = [sys.executable, *SERVE, *words, *ours, "--check"]
        code = _start(argv)
        return _read(path, argv, code)


def judge_served(receipt: Mapping[str, Any], merged_sha256: str, comparable: bool) -> list[Check]:
    """What the server's own check found, as links of the proof; what was not compared does not count as proven.

    ``comparable``: there are answers of base and adapters to compare with. Parity by layers has none: there it is proof
    enough that what is served is the model that was measured.
    """
    smoke, template, answers = receipt["smoke"], receipt["template"], receipt["served"]
    calls = ", ".join(call["name"] for call in smoke["calls"])
    alike = template["conversations"] > 0 and template["identical"] == template["conversations"]
    tokens = f"{template['identical']} of {template['conversations']} conversations are the tokens of training"
    forgiven = [difference for difference in answers["differences"] if difference.get("forgiven")]
    told = f"{answers['identical']} of {answers['prompts']} prompts answered as by base and adapter"
    told += f", {len(forgiven)} more tipped by rounding" if forgiven else ""
    compared = answers["prompts"] > 0 or not comparable
    same = compared and answers["identical"] + len(forgiven) == answers["prompts"]
    again = "python -m serve --check"
    engine = _ENGINES.get(receipt["engine"], receipt["engine"])
    source = Check(
        "what is served is the merged model",
        receipt["source_sha256"] == merged_sha256,
        f"{engine} {receipt['engine_version']}, {_hash(receipt['source_sha256'] or 'none')}",
        again,
    )
    return [
        source,
        Check("a call comes back parsed", bool(smoke["passed"]), f"called {calls}" if calls else smoke["why"], again),
        Check("served tokens are those of training", alike, template.get("why") or tokens, again),
        Check("merged and served model agree", same, answers.get("why") or told, again),
    ]


def _hash(sha256: str) -> str:
    return f"SHA-256 {sha256[:12]}…"


def _short(name: str) -> str:
    """A name as it is; of a path that only this machine has, the end: the receipt goes into a public card."""
    return Path(name).name if name.startswith(("/", "~")) else name


def _start(argv: Sequence[str]) -> int:
    """Run a stage's command to its end; when this process is told to end, the command ends first."""
    print(f"verify: {_shown(argv)}", file=sys.stderr, flush=True)
    handled = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, _end) for one in handled}
    process = subprocess.Popen(argv, stdout=_STDERR, preexec_fn=end_with_parent())
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        for one, handler in before.items():
            signal.signal(one, handler)


def _shown(argv: Sequence[str]) -> str:
    return shlex.join(["python", *argv[1:]])


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _read(path: Path, argv: Sequence[str], code: int) -> dict[str, Any]:
    """What a command wrote; one that disagreed (exit code 1) has written it as well."""
    if code not in (0, 1) or not path.is_file():
        raise StageError(
            f"verify: nothing was found out, exit code {code}; see its output above, mend it and run again: "
            f"{_shown(argv)}"
        )
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _show(checks: Sequence[Check], words: Sequence[str]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'ok  ' if check.passed else 'FAIL'}  {check.name:<{width}}  {check.found}")
        if not check.passed:
            print(f"      {'':<{width}}  next: {check.next} {shlex.join(words)}")
