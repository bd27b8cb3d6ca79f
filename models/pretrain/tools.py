"""Random tools: names, descriptions and JSON schemas, written as a pydantic-based catalogue writes them."""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from models.pretrain import words
from models.pretrain.values import KINDS, Kind, Value, pseudo_word

PAIR_NAMES = (
    ("from_{n}", "to_{n}"),
    ("from_{n}", "to_{n}"),
    ("{n}_a", "{n}_b"),
    ("old_{n}", "new_{n}"),
    ("first_{n}", "second_{n}"),
    ("start_{n}", "end_{n}"),
    ("source", "target"),
    ("old", "new"),
    ("start", "end"),
)
DEMO_VERBS = """
add append book calculate convert count create delete describe find get insert list move query read round search sum
update write
"""
_DEMO = frozenset(words.DEMO_WORDS) | frozenset(DEMO_VERBS.split())


@dataclass(frozen=True)
class Param:
    """One parameter of a random tool."""

    name: str
    kind: Kind
    schema: dict[str, Any]
    required: bool
    choices: tuple[str, ...] = ()
    pair: int = 0
    """1 and 2 for the two members of a pair such as `from_unit` and `to_unit`, else 0."""

    @property
    def spoken(self) -> str:
        """The parameter's name as words."""
        return self.name.replace("_", " ")

    def draw(self, rng: Random) -> Value:
        """Draw a value as (what the user says, what belongs in the call)."""
        if self.choices:
            choice = rng.choice(self.choices)
            return choice, choice
        return self.kind.draw(rng)


@dataclass(frozen=True)
class Tool:
    """One random tool."""

    name: str
    verb: str
    noun: str
    params: tuple[Param, ...]
    spec: dict[str, Any]


FLAG = Kind("flag", {"type": "boolean"}, lambda r: ("", r.random() < 0.5), (), (), ("Whether to use the {n}",))
ENUM = Kind("enum", {"type": "string"}, lambda r: ("", ""), ("{v}", "as {v}", "in {v}"), (), ("Kind of {n}", "The {n}"))


def draw_noun(rng: Random) -> str:
    """Return one or two words that name a thing; at times an invented one, at times words of the demo."""
    pick = rng.random()
    if pick < 0.12:
        return pseudo_word(rng).lower()
    noun = rng.choice(words.DEMO_WORDS if pick < 0.35 else words.NOUNS)
    if rng.random() < 0.15:
        return f"{noun} {pseudo_word(rng).lower()}"
    if rng.random() < 0.5:
        other = rng.choice(rng.choice((words.ADJECTIVES, words.NOUNS, words.DEMO_WORDS)))
        return f"{other} {noun}" if other != noun else noun
    return noun


def draw_name(rng: Random, verb: str, noun: str) -> str:
    """Return a tool name, or '' where every word belongs to the demo: its tool names are never built."""
    parts = [verb, *noun.split()]
    pick = rng.random()
    if pick > 0.94:
        parts = parts[:1] if len(parts) == 2 and pick > 0.97 else parts[1:]
    elif pick > 0.85:
        parts = [*parts[1:], parts[0]]
    return "" if all(part in _DEMO for part in parts) else "_".join(parts)


def _draw_kind(rng: Random) -> tuple[Kind, tuple[str, ...]]:
    """Draw a kind of value, and the choices of an enum."""
    pick = rng.random()
    if pick >= 0.2:
        return rng.choice(KINDS), ()
    if pick < 0.05:
        return FLAG, ()
    pool = rng.choice((words.ADJECTIVES, words.NOUNS, words.DEMO_WORDS, words.UNITS, words.HUBS, words.CITIES))
    if rng.random() < 0.3:
        pool = [pseudo_word(rng).capitalize() for _ in range(6)]
    return ENUM, tuple(dict.fromkeys(rng.sample(pool, rng.randint(2, 5))))


def _draw_param_name(rng: Random, kind: Kind) -> str:
    if not kind.nouns or rng.random() > 0.7:
        return draw_noun(rng).replace(" ", "_")
    name = rng.choice(kind.nouns)
    if rng.random() < 0.25:
        return rng.choice(rng.choice((words.ADJECTIVES, words.NOUNS, words.DEMO_WORDS))) + "_" + name
    return name


def make_param(rng: Random, name: str, kind: Kind, choices: tuple[str, ...], pair: int = 0) -> Param:
    """Make a parameter; its schema has the type and the description first, then the other keys in order."""
    description = rng.choice(kind.descriptions).replace("{n}", name.replace("_", " "))
    if rng.random() < 0.6:
        description = description[0].lower() + description[1:]
    required = bool(pair) or rng.random() < 0.72
    more = {key: value for key, value in kind.schema.items() if key != "type"}
    if choices:
        more["enum"] = list(choices)
    if kind.name == "date" and rng.random() < 0.7:
        more["format"] = "date"
    if kind.name == "integer" and rng.random() < 0.25:
        more |= {"maximum": 100000, "minimum": rng.choice((0, 1))}
    if not required and rng.random() < 0.4 and kind.schema["type"] in ("integer", "number"):
        more["default"] = kind.draw(rng)[1]
    schema = {"type": kind.schema["type"], "description": description, **dict(sorted(more.items()))}
    return Param(name, kind, schema, required, choices, pair)


def _draw_pair(rng: Random) -> list[Param]:
    """Draw two parameters of one kind, such as `from_unit` and `to_unit`."""
    kind, choices = _draw_kind(rng)
    while kind.schema["type"] in ("boolean", "array", "object") or kind.name in ("phrase", "formula"):
        kind, choices = _draw_kind(rng)
    name = _draw_param_name(rng, kind)
    first, second = rng.choice(PAIR_NAMES)
    both = (first.replace("{n}", name), second.replace("{n}", name))
    return [make_param(rng, both[0], kind, choices, 1), make_param(rng, both[1], kind, choices, 2)]


def draw_params(rng: Random, max_params: int) -> tuple[Param, ...]:
    """Draw a tool's parameters, with distinct names."""
    count = min(max_params, rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 4)))
    params = _draw_pair(rng) if count >= 2 and rng.random() < 0.2 else []
    while len(params) < count:
        kind, choices = _draw_kind(rng)
        name = _draw_param_name(rng, kind)
        if all(name != other.name for other in params):
            params.append(make_param(rng, name, kind, choices))
    if params and not any(param.required for param in params) and rng.random() < 0.7:
        params[0] = replace(params[0], required=True)
    if rng.random() < 0.5:
        rng.shuffle(params)
    return tuple(params)


def _describe(rng: Random, verb: str, noun: str, params: tuple[Param, ...]) -> str:
    group = next(group for group in words.VERB_GROUPS if verb in group)
    said = rng.choice(group).capitalize()
    forms = [f"{said} the {noun}", f"{said} a {noun}", f"{said} {noun}"]
    for param in params[:2]:
        link = rng.choice(("for a", "at a", "of a", "through a", "in a", "from a", "with a", "by"))
        forms.append(f"{said} the {noun} {link} {param.spoken}")
    return rng.choice(forms) + rng.choice((".", "", ""))


def build_tool(rng: Random, verb: str, noun: str, max_params: int) -> Tool | None:
    """Build a tool for `verb` and `noun`; None where its name is not allowed."""
    name = draw_name(rng, verb, noun)
    if not name:
        return None
    params = draw_params(rng, max_params)
    schema: dict[str, Any] = {"type": "object", "properties": {p.name: p.schema for p in params}}
    if required := [p.name for p in params if p.required]:
        schema["required"] = required
    schema["additionalProperties"] = False
    function = {"name": name, "description": _describe(rng, verb, noun, params), "parameters": schema}
    return Tool(name, verb, noun, params, {"type": "function", "function": function})


def draw_toolset(rng: Random, count: int, max_params: int) -> list[Tool]:
    """Draw `count` tools with distinct names; about half of them share the verb or the noun with an earlier one."""
    tools: list[Tool] = []
    while len(tools) < count:
        verb, noun = rng.choice(rng.choice(words.VERB_GROUPS)), draw_noun(rng)
        if tools and rng.random() < 0.5:
            near = rng.choice(tools)
            if rng.random() < 0.5:
                verb = near.verb
            else:
                noun = near.noun
        tool = build_tool(rng, verb, noun, max_params)
        if tool and all(tool.name != other.name and (verb, noun) != (other.verb, other.noun) for other in tools):
            tools.append(tool)
    rng.shuffle(tools)
    return tools
