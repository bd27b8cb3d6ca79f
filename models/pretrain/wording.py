"""The wording of random requests."""

from random import Random

from models.pretrain import words
from models.pretrain.tools import Param, Tool

OPENERS = (
    "", "", "", "", "Please ", "Please ", "Can you ", "Could you ", "Could you please ", "Would you ", "I want you to ",
    "I need you to ", "Now ", "Next, ", "Then ", "I would like to ", "I want to ", "Let us ", "Help me ", "Go and ",
    "Also ", "Quickly ", "Just ", "Hey, ", "Hi, please ", "For my report, ", "My task is to ", "Try to ", "You should ",
    "Kindly ",
)  # fmt: skip
OBJECTS = ("the {n}", "the {n}", "a {n}", "{n}", "this {n}", "our {n}", "my {n}", "a new {n}")
LINKS = ("in", "at", "for", "on", "of", "from", "to", "with", "through", "via", "into", "by", "under", "about", "over")
QUESTIONS = (
    "What is the {n}", "What is the {n}", "What was the {n}", "How much {n} is there",
    "How many {n} are there", "What will the {n} be", "How high is the {n}", "How full is the {n}",
    "What does the {n} look like", "Where is the {n}", "Tell me the {n}", "I wonder what the {n} is",
    "Look up the {n}", "What {n} do we have", "What does the {n} cost", "By how much did the {n} change",
    "I wish to know the {n}", "{n},", "Which {n} is there", "How is the {n}", "What do we know about the {n}",
    "Do you know the {n}", "What about the {n}", "Is there a {n}", "I need the {n}", "Give me the {n}",
)  # fmt: skip
CLAUSES = (
    "{p} {v}", "with {p} {v}", "with the {p} {v}", "with a {p} of {v}", "where the {p} is {v}", "{p}: {v}", "{p} = {v}",
    "using {v} as {p}", "using {p} {v}", "for {p} {v}", "{v} as the {p}", "and {p} {v}", "the {p} being {v}",
    "({p} {v})", "the {p} is {v}", "given the {p} {v}",
)  # fmt: skip
FLAG_CLAUSES = {"true": ("with {p}", "with {p} on", "{p}: true", "{p} yes"),
                "false": ("without {p}", "with {p} off", "{p}: false", "{p} no")}  # fmt: skip
TRAILERS = (" The {p} is {v}.", " Use {v} as {p}.", " {p}: {v}.", " The {p} should be {v}.", " Take {v} for the {p}.")
TELLING = frozenset({"city", "hub", "code", "path", "date", "month", "weekday", "phrase", "formula", "unit", "enum"})
GETTERS = frozenset(("get", "fetch", "show", "retrieve", "find", "search", "compute", "calculate", "check", "read",
                     "view", "look", "report"))  # fmt: skip


def opening(rng: Random, tool: Tool, bare: bool = False) -> str:
    """Return the start of a request: the verb (or a verb like it) and the thing."""
    group = next(group for group in words.VERB_GROUPS if tool.verb in group)
    verb = tool.verb if rng.random() < 0.7 else rng.choice(group)
    thing = rng.choice(OBJECTS).format(n=tool.noun)
    if bare:
        return f"{verb} {thing}"
    if rng.random() < 0.1:
        thing = "the " + tool.noun.split()[-1]
    text = rng.choice(OPENERS) + f"{verb} {thing}"
    return text[0].upper() + text[1:] if rng.random() < 0.85 else text


def _unnamed_share(tool: Tool, param: Param) -> float:
    """Return how often the parameter's name may be left out: never where another one could take the value."""
    others = [other for other in tool.params if other is not param]
    if all(other.schema["type"] != param.schema["type"] for other in others):
        return 0.7
    telling = param.kind.name in TELLING and all(other.kind.name != param.kind.name for other in others)
    return 0.45 if telling else 0.0


def _dress(rng: Random, tool: Tool, param: Param, value: str) -> str:
    """Return the value as it may be said: at times in quotes, or with a unit that is no argument."""
    kind = param.schema["type"]
    if kind == "string" and rng.random() < 0.08 and value[:1] not in ("'", '"'):
        return f"'{value}'"
    plain = all(other.kind.name not in ("unit", "enum") for other in tool.params)
    if kind in ("number", "integer") and rng.random() < 0.2 and plain:
        return f"{value} {rng.choice(words.UNITS)}"
    return value


def _direct(rng: Random, tool: Tool, pairs: list[tuple[Param, str]], both: str) -> str:
    """Start a request with the verb and a value at once, and take that value out of `pairs`; '' where none fits."""
    start = rng.choice(OPENERS) + tool.verb
    start = start[0].upper() + start[1:]
    for item in pairs:
        if not both and item[0].schema["type"] != "boolean" and _unnamed_share(tool, item[0]) > 0:
            pairs.remove(item)
            what = rng.choice(("", "", f"{tool.noun} ", f"the {tool.noun} ", f"the {item[0].spoken} "))
            return f"{start} {what}{item[1]}"
    return ""


def say_argument(rng: Random, tool: Tool, param: Param, value: str) -> str:
    """Return a clause with the value, at times without the parameter's name where no other fits it."""
    if param.schema["type"] == "boolean":
        return rng.choice(FLAG_CLAUSES[value]).format(p=param.spoken)
    value = _dress(rng, tool, param, value)
    if param.kind.phrases and rng.random() < _unnamed_share(tool, param):
        phrase = rng.choice(param.kind.phrases) if rng.random() < 0.6 else rng.choice(LINKS) + " {v}"
        return phrase.replace("{v}", value)
    return rng.choice(CLAUSES).replace("{p}", param.spoken).replace("{v}", value)


def _say_pair(rng: Random, pairs: list[tuple[Param, str]]) -> str:
    """Take the two members of a pair out of `pairs` and say them together; '' where they are said apart."""
    members = sorted((item for item in pairs if item[0].pair), key=lambda item: item[0].pair)
    if len(members) < 2 or rng.random() > 0.65:
        return ""
    pairs[:] = [item for item in pairs if not item[0].pair]
    (first, a), (second, b) = members
    named = f"{first.spoken} {a} and {second.spoken} {b}"
    forms = (
        f"from {a} to {b}",
        f"between {a} and {b}",
        f"{a} to {b}",
        f"{a} and {b}",
        f"of {a} and {b}",
        f"{a} into {b}",
    )
    return rng.choice((forms[0], *forms, named))


def ask(rng: Random, tool: Tool, said: list[tuple[Param, str]], bare: bool = False) -> str:
    """Return a request for `tool` with the values in `said`."""
    pairs = list(said)
    if rng.random() < 0.5:
        rng.shuffle(pairs)
    both = _say_pair(rng, pairs)
    start = _direct(rng, tool, pairs, both) if not bare and rng.random() < 0.14 else ""
    if start:
        end = rng.choice((".", ".", "", "?"))
    elif not bare and rng.random() < (0.5 if tool.verb in GETTERS else 0.1):
        start, end = rng.choice(QUESTIONS).format(n=tool.noun), "?"
    else:
        start, end = opening(rng, tool, bare), rng.choice((".", ".", ".", "", "?"))
    tail = ""
    if not bare and pairs and pairs[-1][0].schema["type"] != "boolean" and rng.random() < 0.15:
        param, value = pairs.pop()
        tail = rng.choice(TRAILERS).replace("{p}", param.spoken).replace("{v}", value)
        end = "."
    clauses = [say_argument(rng, tool, param, value) for param, value in pairs]
    if both:
        clauses.insert(rng.randint(0, len(clauses)), both)
    if not bare and not tail and clauses and rng.random() < 0.12:
        first = clauses.pop(0)
        start = start if start.startswith("I ") else start[0].lower() + start[1:]
        return f"{first[0].upper() + first[1:]}, {start}{''.join(' ' + c for c in clauses)}{end}"
    joint = rng.choice((" ", " ", " ", ", ", " and "))
    return start + (" " + joint.join(clauses) if clauses else "") + ("" if bare else end) + tail
