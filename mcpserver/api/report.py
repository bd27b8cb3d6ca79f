"""What an import changed and why: named rules, counted, with examples; and what it refused.

Nothing is dropped in silence: every definition that was read is accepted or refused, and every change has a rule here.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from toolwright.words import cut

MAX_EXAMPLES = 3

RULES: Mapping[str, str] = {
    "definition_wrapped": "the definition stood inside another object (OpenAI's function, an API list): taken out",
    "parameters_missing": "no parameters were given: an object without properties",
    "parameters_flat": "parameters were the properties alone, or JSON text: the object around them",
    "parameters_list": "parameters were a list of rows: one property for each",
    "parameters_key": "parameters stood under another key (input_schema, arguments, …)",
    "parameters_type": "parameters must be an object; the type was missing or misspelt, but there were properties",
    "name_characters": "a tool's name has a-z, 0-9 and _ and begins with a letter, or dialects cannot write it",
    "name_too_long": "APIs take names up to 64 characters: cut, with a hash of the whole",
    "name_duplicate": "two tools had one name: the later ones got that of their API, or a number",
    "name_taken": "a built-in tool has the name: that of the API was put before it",
    "name_missing": "the operation had no id: made from method and path",
    "parameter_name": "models write names of letters, digits, '_', '.' and '-' up to 64: renamed; sent under its own",
    "parameter_clash": "two parameters of one name, in different places of the request: the later got its place's name",
    "description_missing": "no description: made from the name",
    "description_boilerplate": "a sentence that all tools share says nothing: what the API does comes first",
    "description_characters": "control and zero-width characters, trailing blanks and blank lines taken out",
    "description_cut": "descriptions over the limit are cut: APIs refuse them",
    "none_in_text": "'Defaults to None' taken out: null is no value of the type, the parameter is just left out",
    "schema_not_object": "a parameter's schema was a word or a value: its type, enum or description",
    "schema_keyword": "a keyword that JSON Schema 2020-12 has not, or with a value that it does not take: left out",
    "type_spelling": "a type in another spelling (STRING, int, dict, list, float …): JSON Schema's",
    "type_missing": "no type: taken from enum, default, properties or items, else string",
    "type_unknown": "a type that means nothing: string",
    "items_missing": "an array that does not say of what: from its default, else strings",
    "items_list": "items as a list: prefixItems, as 2020-12 writes it",
    "nullable": "'nullable' of OpenAPI 3.0: null beside the type",
    "bound_boolean": "exclusiveMinimum: true of draft 4: the number itself",
    "example_keyword": "'example' of OpenAPI: 'examples'",
    "number_in_text": "a bound written as text: the number",
    "pattern_unusable": "a pattern that Python cannot read, or that may take for ever: told in the description instead",
    "enum_in_text": "the values stood in the description or in one string: an enum",
    "enum_values": "an enum with doubles, or with values of another type: cleaned",
    "enum_empty": "an enum without values allows nothing: left out",
    "default_converted": "a default of the wrong type that can be read as the right one",
    "default_whole": "a whole number as default is written without '.0', as people and models do",
    "default_dropped": "a default that does not fit the type, the enum or a bound: left out, told in the description",
    "default_null": "null as default means 'not given': left out",
    "required_form": "required was no list of names (true on a parameter, a string, doubles): the list",
    "required_unknown": "a required name that is no parameter: the parameter it was meant to be, or left out",
    "all_of_merged": "allOf merged into one schema",
    "read_only": "what only replies have (readOnly) is no parameter; what only requests have is in no reply",
    "deprecated": "deprecated operations are kept, and their description says so",
    "reference_kept": "a schema that refers to itself, or is too large when written out: kept under $defs",
    "response_dropped": "the schema of the reply is no schema: left out, so replies have any form",
    "auth_parameter": "headers with credentials come from the configuration, never from the model: left out",
}


class Note(NamedTuple):
    """One change: the rule, where, and the value before and after."""

    rule: str
    where: str
    before: Any
    after: Any


class Notes:
    """The changes to one definition; ``shown`` is false for schemas of replies, which no model reads."""

    def __init__(self, shown: bool = True) -> None:
        self.items: list[Note] = []
        self.shown = shown

    def add(self, rule: str, where: str, before: Any, after: Any = None) -> None:
        """Note a change; ``rule`` is a key of ``RULES``."""
        self.items.append(Note(rule, where, before, after))


class Refusal(NamedTuple):
    """A definition that is no tool: where it stood, its name if it had one, and why."""

    place: str
    name: str
    reason: str


@dataclass
class Report:
    """The account of one import; ``accepted + len(refused) == read``."""

    source: str
    read: int = 0
    accepted: int = 0
    refused: list[Refusal] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)
    tools: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def accept(self, name: str, notes: Notes) -> None:
        """Count an accepted definition and its changes."""
        self.read += 1
        self.accepted += 1
        for rule in {note.rule for note in notes.items}:
            self.tools[rule] = self.tools.get(rule, 0) + 1
        for note in notes.items:
            self.times[note.rule] = self.times.get(note.rule, 0) + 1
            kept = self.examples.setdefault(note.rule, [])
            if len(kept) < MAX_EXAMPLES:
                kept.append({"tool": name, "where": note.where, "before": note.before, "after": note.after})

    def refuse(self, place: str, name: object, reason: str) -> None:
        """Count a definition that is no tool."""
        self.read += 1
        self.refused.append(Refusal(place, name if isinstance(name, str) else "", reason))

    def to_json(self) -> dict[str, Any]:
        """The whole report as a JSON object."""
        return {
            "source": self.source,
            "read": self.read,
            "accepted": self.accepted,
            "refused": [refusal._asdict() for refusal in self.refused],
            "rules": {
                rule: {
                    "why": RULES[rule],
                    "times": self.times[rule],
                    "tools": self.tools[rule],
                    "examples": self.examples[rule],
                }
                for rule in RULES
                if rule in self.times
            },
        }

    def table(self) -> Iterator[str]:
        """The report as lines of text: a row for each rule, then each reason for refusal."""
        yield f"{self.source}: read {self.read:,}, accepted {self.accepted:,}, refused {len(self.refused):,}"
        yield f"{'rule':<24}{'times':>8}{'tools':>8}  why · example"
        for rule in (rule for rule in RULES if rule in self.times):
            first = self.examples[rule][0]
            yield f"{rule:<24}{self.times[rule]:>8,}{self.tools[rule]:>8,}  {RULES[rule]}"
            yield f"{'':<42}{first['tool']}: {_brief(first['before'])} -> {_brief(first['after'])}"
        for refusal in self.refused[:20]:
            yield f"refused {refusal.place} {_brief(refusal.name)}: {refusal.reason}"
        if len(self.refused) > 20:
            yield f"and {len(self.refused) - 20:,} more refused; all are in the report"


def _brief(value: Any) -> str:
    return cut(json.dumps(value, ensure_ascii=False, default=repr), 60).encode("utf-8", "backslashreplace").decode()
