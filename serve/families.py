"""What vLLM has to be told for each family of models: the parsers of calls and of reasoning, and further flags.

The parser of calls stands in ``toolwright.dialect.DIALECTS``; here is what goes with it. The names are those of vLLM
0.32.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolwright.dialect import ChatTemplate, dialect_for, opened_reasoning, render_prompt, vllm_parser
from toolwright.errors import ModelError
from toolwright.records import Message


@dataclass(frozen=True)
class Family:
    """What goes with a dialect.

    Attributes:
        reasoning: vLLM's parser of reasoning; "" if models of the family do not reason.
        always: whether it is safe where nothing is reasoned. The others take all text up to the end mark for reasoning,
            so that a model that does not reason would answer nothing.
        flags: further flags of vLLM for models with a Hugging Face chat template.
    """

    reasoning: str = ""
    always: bool = False
    flags: tuple[str, ...] = ()


# Otherwise vLLM renders with mistral_common where it can, and not with the chat template that the model learnt.
_MISTRAL = Family("mistral", always=True, flags=("--tokenizer-mode", "hf"))

FAMILIES: Mapping[str, Family] = {
    "xml": Family("qwen3"),
    "glm": Family("glm45"),
    "gemma": Family("gemma4", always=True),
    "lfm": Family(),
    "harmony": Family("openai_gptoss", always=True),
    "atem": Family("muse_glimmer", always=True),
    "hermes": Family("qwen3"),
    "llama3": Family(),
    "mistral": _MISTRAL,
    "mistral_named": _MISTRAL,
    "deepseek_v31": Family("deepseek_v3", always=True),
    "deepseek": Family("deepseek_r1"),
    "cohere": Family("cohere_command3", always=True),
}
"""By dialect. ``always`` was tried: qwen3, glm45 and deepseek_r1 of vLLM 0.32 take "hello" for reasoning."""

NEMOTRON = "nemotron_v3"
"""For the models of the dialect ``xml`` that are Nemotrons."""


def family_flags(
    model_type: str,
    template: str | None,
    *,
    thinks: bool,
    template_kwargs: Mapping[str, Any],
    given: Sequence[str],
) -> list[str]:
    """vLLM's flags for a model of a family, without those that are ``given``.

    Args:
        model_type: model type, or name.
        template: the chat template; none where it is not at hand.
        thinks: whether replies begin with reasoning (``thinks``).
        template_kwargs: keywords that the chat template was trained with.
        given: flags of the user, which win.

    Raises:
        ModelError: the model writes calls in no form that we know a parser of vLLM for.
    """
    named = {flag.split("=")[0] for flag in given}
    flags: list[str] = []
    family = Family()
    try:
        dialect = dialect_for(model_type, template)
        family = FAMILIES[dialect]
        parser = "" if "--tool-call-parser" in named else vllm_parser(dialect)
    except ModelError as error:
        if "--tool-call-parser" not in named:
            raise ModelError(f"{error}, or name a parser of vLLM's: -- --tool-call-parser NAME") from None
        parser = ""
    if parser:
        flags += ["--tool-call-parser", parser]
    if family.reasoning and "--reasoning-parser" not in named and (family.always or thinks):
        flags += ["--reasoning-parser", NEMOTRON if "nemotron" in model_type.lower() else family.reasoning]
    if template is not None and family.flags and family.flags[0] not in named:
        flags += family.flags
    if template_kwargs and "--default-chat-template-kwargs" not in named:
        flags += ["--default-chat-template-kwargs", json.dumps(template_kwargs, sort_keys=True)]
    return flags


def thinks(
    tokenizer: ChatTemplate, dialect: str, template_kwargs: Mapping[str, Any], replies: Sequence[str] = ()
) -> bool:
    """Whether a model's replies begin with reasoning.

    The prompt says so where the chat template opens or closes the reasoning there. Otherwise what the model was trained
    to write does (``replies``: rendered turns), and without that, that the template knows of reasoning.
    """
    prompt = render_prompt(tokenizer, [Message(role="user", content="Hello.")], (), **template_kwargs)
    if opened_reasoning(prompt, dialect):
        return True
    if prompt.rstrip().endswith("</think>"):
        return False
    if replies:
        return any(reply.lstrip().startswith("<think>") for reply in replies)
    return "<think>" in str(tokenizer.chat_template)
