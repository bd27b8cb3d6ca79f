"""The token page: one self-contained HTML file that shows what of each training row is trained.

Rows travel as JSON, their tokens become elements when a row is looked at. Everything that data or tokenizers hold is
escaped, or shown as text; the page's content security policy lets no script run but its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from sft.encode import IGNORE, Encoded
from sft.survey import Encoder, RowFact, Survey, group_refusals
from sft.survey_words import histogram, policy_words, quantiles, share, survey_facts
from sft.token_roles import Difference, Tokens, describe_tokens, serving_differences
from toolwright.page import fill, safe_json, script_hash
from toolwright.records import Conversation

MAX_TOKENS = 500_000
"""Tokens on one page; it stays below 10 MB. Rows beyond are left out or shown in part, and the page says so."""


@dataclass(frozen=True)
class ShownRow:
    """A row as the page shows it: index among all rows, why it was chosen, and its tokens."""

    index: int
    why: str
    fact: RowFact
    row: Encoded
    conversation: Conversation
    tokens: Tokens
    differences: Sequence[Difference]


def show_row(index: int, why: str, fact: RowFact, row: Encoded, words: Conversation, encoder: Encoder) -> ShownRow:
    """Describe a row's tokens and compare its prompts with the server's."""
    frame = encoder.frame(words)
    return ShownRow(
        index, why, fact, row, words, describe_tokens(row, words, frame), serving_differences(row, words, frame)
    )


def build_page(title: str, model: str, found: Survey, rows: Sequence[ShownRow], encoder: Encoder) -> str:
    """The whole page, for the file ``title`` and the tokenizer of ``model``."""
    template = Path(__file__).with_name("token_page.html").read_text(encoding="utf-8")
    data, note = embed_rows(rows)
    return fill(
        template,
        {
            "title": f"tokens of {escape(title)}",
            "script_hash": script_hash(template),
            "eyebrow": f"toolwright · sft.inspect · {escape(model)}",
            "headline": escape(title),
            "lead": _lead(found),
            "policy": escape(policy_words(encoder)),
            "facts": _facts(found),
            "lengths": _lengths(found),
            "served": escape(served_words(rows)),
            "served_style": "bad" if any(row.differences for row in rows) else "good",
            "refused": _refused(found),
            "note": escape(note),
            "data": data,
        },
    )


def served_words(rows: Sequence[ShownRow]) -> str:
    """How many trained turns of the shown rows have another prompt than the server's."""
    turns = sum(len(row.row.spans) for row in rows)
    different = sum(len(row.differences) for row in rows)
    what = "1 difference" if different == 1 else f"{different:,} differences"
    return f"{what} in {turns:,} {'turn' if turns == 1 else 'turns'}"


def _lead(found: Survey) -> str:
    if not found.rows:
        return "No row to train on."
    return (
        f"<b>{found.trained:,}</b> of {found.tokens:,} tokens are trained: <b>{share(found.trained, found.tokens)}</b>"
    )


def _facts(found: Survey) -> str:
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in survey_facts(found))


def _lengths(found: Survey) -> str:
    if not found.rows:
        return ""
    bins = histogram([row.tokens for row in found.rows], 12)
    most = max(count for *_, count in bins)
    bars = "".join(
        f'<span class="soft">{low:,}–{high:,}</span>'
        f'<span class="track thin"><i class="bar" style="width:{100 * count / most:.1f}%"></i></span><b>{count:,}</b>'
        for low, high, count in bins
    )
    words = quantiles([row.tokens for row in found.rows])
    return f'<h3>Tokens in a row <span>{words}</span></h3><div class="bars">{bars}</div>'


def _refused(found: Survey) -> str:
    if not found.refused:
        return ""
    groups = "".join(
        f'<tr><td class="n">{count:,}</td><td><code>{escape(first.where)}</code></td>'
        f"<td>{escape(first.reason)}</td></tr>"
        for count, first in group_refusals(found.refused)
    )
    listed = found.refused[:500]
    lines = "".join(f"<li><code>{escape(each.where)}</code> {escape(each.reason[:400])}</li>" for each in listed)
    more = f"<p class='note'>The first {len(listed)} of {len(found.refused):,}.</p>" if len(found.refused) > 500 else ""
    return (
        f"<h2>{len(found.refused):,} refused</h2>"
        "<div class='scroll'><table><thead><tr><th class='n'>how many</th>"
        f"<th>first at</th><th>why</th></tr></thead><tbody>{groups}</tbody></table></div>"
        f"<details><summary>all of them</summary><ol>{lines}</ol>{more}</details>"
    )


def embed_rows(rows: Sequence[ShownRow], max_tokens: int = MAX_TOKENS) -> tuple[str, str]:
    """``(JSON, note for people)`` of the rows; of those that do not fit in ``max_tokens``, the beginning.

    The text of a token stands once in ``texts``, under its id; a row's ``odd`` has those that differ in their place.
    ``runs`` are ``[count, role, message, weight, trained]``; the label of a trained token is its id, else -100.
    """
    texts: dict[int, str] = {}
    entries: list[dict[str, Any]] = []
    room = max_tokens
    for row in rows:
        if room <= 0:
            break
        entries.append(_row_entry(row, room, texts))
        room -= len(entries[-1]["ids"])
    whole = sum(len(entry["ids"]) == row.fact.tokens for entry, row in zip(entries, rows))
    note = "" if whole == len(rows) else f"Room for {max_tokens:,} tokens: {whole} of {len(rows)} rows are shown whole."
    return safe_json({"rows": entries, "texts": texts}), note


def _row_entry(shown: ShownRow, room: int, texts: dict[int, str]) -> dict[str, Any]:
    row, tokens = shown.row, shown.tokens
    ids = row.input_ids[:room].tolist()
    odd = {}
    for place, (token, piece) in enumerate(zip(ids, tokens.pieces)):
        if texts.setdefault(token, piece) != piece:
            odd[place] = piece
    trained = (row.labels[:room] != IGNORE).astype(int).tolist()
    each = zip(tokens.roles.tolist(), tokens.messages.tolist(), (round(float(w), 6) for w in row.weights), trained)
    return {
        "index": shown.index,
        "why": shown.why,
        "where": shown.fact.where,
        "id": shown.conversation.id,
        "part": [shown.fact.part + 1, shown.fact.parts],
        "total": len(row.input_ids),
        "trained": row.trained,
        "messages": [message.role for message in shown.conversation.messages],
        "ids": ids,
        "odd": odd,
        "runs": [[len(list(group)), *key] for key, group in groupby(each)],
        "different": [_difference_entry(difference) for difference in shown.differences],
    }


def _difference_entry(difference: Difference) -> Mapping[str, Any]:
    return {
        "message": difference.message,
        "start": difference.start,
        "end": difference.end,
        "row": difference.row,
        "served": difference.served,
    }
