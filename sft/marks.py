"""A chat template that also tells where each message begins in the text that it renders.

The template is parsed, a mark is put at the start of every loop over messages in its syntax tree, and the marks are
taken out of the text again. Nothing here is trusted: whoever uses the places compares them with those that the
tokenizer's own rendering gives (``sft.turns``).

Source: the environment is what `transformers/utils/chat_template_utils.py` gives to templates.
"""

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from types import BuiltinMethodType
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

_NONCE = secrets.token_hex(4)  # so that no message can contain a mark
_MARK = re.compile(f"\x00{_NONCE}:(\\d+)\x01")  # ASCII: the text stays as narrow as it is
_MARKER = "_mark_message"
_CONTEXT_NAMES = ("_loop_vars", "_block_vars")
_DICT_NAMES = frozenset(dir(dict))
_SHORT_WAY: Mapping[type, frozenset[str]] = {
    LoopContext: frozenset(("index", "index0", "first", "last", "length", "revindex", "previtem", "nextitem")),
    str: frozenset(("strip", "lstrip", "rstrip", "split", "startswith", "endswith", "replace", "lower", "upper")),
}

Row = Mapping[str, Any]


class ToolRow(dict[str, Any]):
    """A tool as templates take it, whose JSON is written once; it must not be changed afterwards."""

    @cached_property
    def json(self) -> str:
        """The tool as ``tojson`` gives it."""
        return _encode(self)


class _Marker:
    """What templates call with each message: gives its mark, or "" for anything else."""

    def __init__(self, marks: Mapping[int, str]) -> None:
        self._marks = marks

    def __call__(self, message: Any) -> str:
        return self._marks.get(id(message), "")


class MarkedTemplate:
    """A compiled chat template.

    Args:
        source: the template.
        variables: what it sees beside messages and tools, such as ``bos_token``.

    Raises:
        TemplateError: the source is no template.
    """

    def __init__(self, source: str, variables: Mapping[str, Any]) -> None:
        environment = _environment()
        self._plain = environment.from_string(source).render
        self._marked = environment.from_string(_with_marks(environment.parse(source))).render
        self._variables = dict(variables)

    def render(self, rows: Sequence[Row], tools: Sequence[Row], *, prompt: bool) -> str:
        """The text of ``rows``, without marks; with ``prompt``, up to where the model's next turn begins."""
        return self._plain(messages=rows, tools=tools or None, add_generation_prompt=prompt, **self._variables)

    def starts(self, rows: Sequence[Row], tools: Sequence[Row]) -> tuple[str, dict[int, int]]:
        """The text of ``rows``, and the character at which each message begins; messages outside of loops have none.

        Where several loops that write something visit a message, the last one counts.
        """
        mark = _Marker({id(row): f"\x00{_NONCE}:{number}\x01" for number, row in enumerate(rows)})
        marked = self._marked(
            messages=rows, tools=tools or None, add_generation_prompt=False, **self._variables, **{_MARKER: mark}
        )
        pieces = _MARK.split(marked)
        places: dict[int, int] = {}
        at = 0
        for text, number in zip(pieces[::2], [*pieces[1::2], None]):
            at += len(text)
            if number is not None:
                places[int(number)] = at
        return "".join(pieces[::2]), places


def _with_marks(tree: nodes.Template) -> nodes.Template:
    over_messages = {"messages"}
    for assign in tree.find_all(nodes.Assign):
        if isinstance(assign.target, nodes.Name) and _names(assign.node) & over_messages:
            over_messages.add(assign.target.name)
    loops = [loop for loop in tree.find_all(nodes.For) if _names(loop.iter) & over_messages]
    inner = {id(nested) for loop in loops for part in loop.body for nested in _self_and(part, nodes.For)}
    for loop in loops:
        writes = loop.find(nodes.Output) is not None
        if writes and id(loop) not in inner and isinstance(loop.target, nodes.Name):
            seen = nodes.Name(loop.target.name, "load")
            call = nodes.Call(nodes.Name(_MARKER, "load"), [seen], [], None, None)
            loop.body.insert(0, nodes.Output([call]).set_lineno(loop.lineno, override=True))
    return tree


def _names(node: nodes.Node) -> set[str]:
    return {name.name for name in _self_and(node, nodes.Name)}


def _self_and(node: nodes.Node, kind: type[Any]) -> list[Any]:
    return [*([node] if isinstance(node, kind) else []), *node.find_all(kind)]


def words_that_templates_test(source: str) -> tuple[str, ...]:
    """The words that a template looks for in messages (``'</think>' in content``), and may render them otherwise."""
    tree = _environment().parse(source)
    tested = [compare.expr for compare in tree.find_all(nodes.Compare)]
    tested += [argument for call in tree.find_all(nodes.Call) for argument in call.args]
    words = {node.value for node in tested if isinstance(node, nodes.Const) and isinstance(node.value, str)}
    return tuple(sorted(word for word in words if word.strip() and not word.isidentifier()))


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with a short way for what templates use most and what is safe: dicts, loops, strings, namespaces."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        kind = type(obj)
        # Jinja asks for a real attribute first and falls back to the item; a dict has few of the former.
        if (kind is dict or kind is ToolRow) and attribute not in _DICT_NAMES:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if attribute in _SHORT_WAY.get(kind, ()) or (kind is _Namespace and attribute[0] != "_"):
            try:
                return getattr(obj, attribute)
            except AttributeError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def call(self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        if type(__obj) is _Marker:
            return __obj(*args)
        if type(__obj) is BuiltinMethodType and type(__obj.__self__) is str and __obj.__name__ in _SHORT_WAY[str]:
            for name in _CONTEXT_NAMES:  # what compiled templates pass for Jinja's own use
                kwargs.pop(name, None)
            return __obj(*args, **kwargs)
        return super().call(__context, __obj, *args, **kwargs)


class _Generation(Extension):
    """Reads ``{% generation %}`` as the statements inside."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Namespace(Namespace):
    def __setitem__(self, name: str, value: Any) -> None:
        if str(name).startswith("_"):
            raise SecurityError(f"chat templates cannot store {name!r} on a namespace")
        super().__setitem__(name, value)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    environment.globals["namespace"] = _Namespace
    return environment


_encode = json.JSONEncoder(ensure_ascii=False).encode


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if not ensure_ascii and indent is None and separators is None and not sort_keys:
        return value.json if type(value) is ToolRow else _encode(value)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> Callable[[], None]:
    raise TemplateError(message)
