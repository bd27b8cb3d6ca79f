"""The proof at start: a call comes back parsed, whole and streamed alike, and what is served is what was trained.

Reads ``train.jsonl`` and ``parity.json`` of the run, if they are there; writes the receipt (``serve.receipt``).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serve.ask import FAILURES, TIMEOUT_S, ask_streamed, ask_whole, server_version, why
from serve.fidelity import (
    WEATHER_TOOL,
    Served,
    Template,
    choose_turns,
    compare_answers,
    compare_templates,
    read_conversations,
    same_calls,
)
from serve.notices import say, warn
from serve.snippets import snippets
from serve.target import Target
from toolwright.artifacts import fingerprint, write_text
from toolwright.config import RunConfig
from toolwright.dialect import dialect_for
from toolwright.errors import ToolwrightError
from toolwright.stage import run_dir
from toolwright.words import shorten

MAX_TOKENS = 1024
"""Enough for a model that reasons before it calls."""
WEATHER = {
    "messages": [{"role": "user", "content": "What is the weather in Paris right now? Use the tool."}],
    "tools": [WEATHER_TOOL.to_openai()],
}


@dataclass(frozen=True)
class Outcome:
    """What came back: the calls as (name, arguments as text), or the text instead; ``error`` where nothing did.

    ``cut``: the text is that of a reply, or of its reasoning, which had not come to an end.
    """

    whole: tuple[tuple[str, str], ...] = ()
    streamed: tuple[tuple[str, str], ...] = ()
    text: str = ""
    streamed_text: str = ""
    error: str = ""
    cut: bool = False

    @property
    def passed(self) -> bool:
        """Whether a call came back, both ways the same."""
        return not self.error and bool(self.whole) and same_calls(self.whole, self.streamed)


def smoke_request(config: RunConfig, target: Target) -> dict[str, Any]:
    """The request to try: the first question of the run with one call, else one about the weather."""
    request = _from_run(target.run or run_dir(config)) or WEATHER
    return {"model": target.name, "temperature": 0, "max_tokens": MAX_TOKENS, **request}


def _from_run(run: Path) -> dict[str, Any] | None:
    for conversation in read_conversations(run):
        calls = conversation.plan.calls if conversation.plan else ()
        if conversation.mode == "single" and len(calls) == 1:
            first = [message.role for message in conversation.messages].index("assistant")
            tools = [tool for tool in conversation.tools if tool.name == calls[0].name]
            return {
                "messages": [message.to_openai() for message in conversation.messages[:first]],
                "tools": [tool.to_openai() for tool in tools],
            }
    return None


def smoke_test(url: str, target: Target, request: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> Outcome:
    """Send the request, first whole and then streamed."""
    try:
        whole = ask_whole(url, target, request, timeout_s)
        streamed = ask_streamed(url, target, request, timeout_s)
    except FAILURES as error:
        return Outcome(error=why(error))
    text = whole.content or whole.reasoning
    return Outcome(whole.calls, streamed.calls, text, streamed.content, cut=whole.cut)


def report(outcome: Outcome) -> bool:
    """Print one line about the outcome; whether it is good."""
    if outcome.passed:
        shown = ", ".join(f"{name}({arguments})" for name, arguments in outcome.whole)
        say(f"smoke: ok, parsed whole and streamed: {shorten(shown, 200)[1:-1]}")
        return True
    warn(f"smoke: warning: {explain(outcome)}")
    return False


def explain(outcome: Outcome) -> str:
    """Why an outcome is not good."""
    if outcome.error:
        return f"the request failed: {' '.join(outcome.error.split())}"
    if outcome.whole:
        got = shorten(outcome.streamed or outcome.streamed_text, 200)
        return f"a call came back parsed, but streamed it was {got} instead of {shorten(outcome.whole, 200)}"
    end = " and had not ended when its tokens were used up" if outcome.cut else ""
    return (
        f"no call came back parsed; the model wrote {shorten(outcome.text, 300)}{end}. A base model may do that; "
        "a trained one should not"
    )


def prove(
    config: RunConfig, target: Target, url: str, *, first: bool = True, stopped: Callable[[], bool] = lambda: False
) -> bool:
    """Try the server that runs at ``url``, say what came of it, and write the receipt; whether all is good.

    Args:
        config: the run.
        target: what is served.
        url: where.
        first: whether to show, too, how to ask it.
        stopped: whether the server was told to stop, so that failures mean nothing.
    """
    request = smoke_request(config, target)
    if first and not config.serve.check:
        say(snippets(url, request, config.serve.api_key_env))
    outcome = smoke_test(url, target, request)
    template, served = _compare(config, target, url)
    if stopped():
        return False
    good = [report(outcome), _report_template(template), _report_served(served)]
    passed = all(good)
    if config.serve.receipt is None:
        return passed
    return _write(Path(config.serve.receipt), _receipt(target, url, passed, outcome, template, served)) and passed


def _write(path: Path, receipt: Mapping[str, Any]) -> bool:
    """Write the receipt; whether it could be written."""
    try:
        write_text(path, json.dumps(receipt, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        warn(f"receipt: warning: {path}: cannot be written ({error.strerror or error}); choose another serve.receipt")
        return False
    return True


def _compare(config: RunConfig, target: Target, url: str) -> tuple[Template, Served]:
    from toolwright.model import load_tokenizer  # torch and transformers take seconds, the server has its own

    run, kwargs = target.run or run_dir(config), config.sft.template_kwargs
    try:
        tokenizer = load_tokenizer(target.tokenizer)
        template_text = tokenizer.chat_template
        dialect = dialect_for(target.name, template_text if isinstance(template_text, str) else str(template_text))
    except (ToolwrightError, OSError) as error:
        return Template(why=str(error)), Served(why=str(error))
    template = compare_templates(url, target, tokenizer, choose_turns(run), kwargs)
    if target.parity is None:
        return template, Served(why="only what `python -m merge` made is compared with base and adapter")
    return template, compare_answers(url, target, tokenizer, dialect, target.parity, kwargs)


def _report_template(template: Template) -> bool:
    if template.first_difference:
        missed = template.conversations - template.identical
        warn(
            f"template: warning: {missed} of {template.conversations} conversations are other tokens than in training: "
            f"{template.first_difference}"
        )
    elif template.conversations:
        say(f"template: ok, {template.conversations} conversations are the tokens of training")
    else:
        say(f"template: not compared: {template.why or 'the template takes no conversation'}")
    return template.passed


def _report_served(served: Served) -> bool:
    if not served.prompts:
        say(f"answers: not compared: {served.why}")
        return True
    forgiven = sum(bool(difference["forgiven"]) for difference in served.differences)
    line = f"{served.identical} of {served.prompts} fixed prompts answered as by base and adapter"
    if served.passed:
        wavered = f"; in {forgiven} the model wavers between two tokens, and took the other" if forgiven else ""
        say(f"answers: ok, {line}{wavered}")
    else:
        worst = next(difference for difference in served.differences if not difference["forgiven"])
        warn(f"answers: warning: {line}; the first that is not: {shorten(worst, 600)}")
    return served.passed


def _receipt(
    target: Target, url: str, passed: bool, outcome: Outcome, template: Template, served: Served
) -> dict[str, Any]:
    from toolwright.stage import package_versions

    directory = Path(target.source)
    ours = package_versions().get("toolwright", "")
    return {
        "passed": passed,
        "model": target.name,
        "source": target.source,
        "source_sha256": fingerprint(directory) if directory.is_dir() else None,
        "adapter": str(target.adapter) if target.adapter else None,
        "adapter_sha256": fingerprint(target.adapter) if target.adapter else None,
        "engine": target.engine,
        "engine_version": server_version(url, target) if target.engine == "vllm" else ours,
        "smoke": {
            "passed": outcome.passed,
            "calls": [{"name": name, "arguments": arguments} for name, arguments in outcome.whole],
            "why": "" if outcome.passed else explain(outcome),
        },
        "template": {"passed": template.passed, **asdict(template)},
        "served": {"passed": served.passed, **asdict(served)},
    }
