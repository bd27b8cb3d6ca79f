"""A survey in words and tables: for the terminal, and for the header of the token page."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sft.encode import IGNORE, Encoded, TrainPolicy
from sft.survey import Encoder, Survey, group_refusals
from sft.token_roles import ROLES, Tokens

_BAR = 32
_STYLES = ("bright_black", "cyan", "cyan", "blue", "green", "magenta", "yellow", "bright_red", "green")
_DEFAULTS = TrainPolicy()


def share(part: int, whole: int) -> str:
    """A share in percent."""
    return f"{100 * part / max(whole, 1):.1f} %"


def quantiles(values: Sequence[int]) -> str:
    """Least, middle, 90th percentile and largest."""
    ordered = sorted(values)
    last = len(ordered) - 1
    least, median, p90, most = (ordered[round(last * q)] for q in (0, 0.5, 0.9, 1))
    return f"min {least:,} · median {median:,} · p90 {p90:,} · max {most:,}"


def histogram(values: Sequence[int], most_bins: int) -> list[tuple[int, int, int]]:
    """``(from, to, how many)`` for bins of one width, a round number, from the least to the largest value."""
    low, high = min(values), max(values)
    width = next(w for n in range(12) for w in (10**n, 2 * 10**n, 5 * 10**n) if high // w - low // w < most_bins)
    counts = Counter(value // width for value in values)
    return [(n * width, (n + 1) * width - 1, counts[n]) for n in range(low // width, high // width + 1)]


def policy_words(encoder: Encoder) -> str:
    """The settings under which rows were made; those at their defaults but for the main ones are left out."""
    train = encoder.train
    words = [f"turns {train.turns}", f"history {train.history}", f"thinking {train.thinking}"]
    words.append(f"max_tokens {encoder.max_tokens:,}")
    for name in ("call_weight", "text_weight", "reasoning_weight", "markers"):
        if getattr(train, name) != getattr(_DEFAULTS, name):
            words.append(f"{name} {getattr(train, name)}")
    words += [f"{name}={value!r}" for name, value in encoder.template_kwargs.items()]
    return " · ".join(words)


def survey_facts(found: Survey) -> list[tuple[str, str]]:
    """``(name, words)`` of each statistic."""
    facts = [("conversations", f"{found.lines:,}"), ("rows", f"{len(found.rows):,}{_split(found)}")]
    if found.rows:
        facts += [
            ("trained tokens", _by_role(found)),
            ("trained turns in a row", quantiles([row.turns for row in found.rows])),
            ("tools on offer", quantiles(found.tools)),
        ]
    facts.append(("refused", f"{len(found.refused):,}"))
    facts.append(("cut by max_tokens", f"{found.cut_turns:,} turns, {found.cut_tokens:,} trained tokens"))
    if found.unstable_turns:
        facts.append(("left out by history=stable", f"{found.unstable_turns:,} turns"))
    repeats = f", first {found.repeats[0][0]} = {found.repeats[0][1]}" if found.repeats else ""
    facts.append(("repeated conversations", f"{len(found.repeats):,}{repeats}"))
    return facts


def _split(found: Survey) -> str:
    several = sum(row.part == 0 for row in found.rows if row.parts > 1)
    return f", {several:,} conversations give several" if several else ""


def _by_role(found: Survey) -> str:
    names = {"call": "calls", "text": "text", "reasoning": "reasoning", "end": "ends of turns"}
    parts = [
        f"{name} {found.by_role[role]:,} ({share(found.by_role[role], found.trained)})" for role, name in names.items()
    ]
    return " · ".join(parts)


def print_survey(found: Survey, title: str, encoder: Encoder, console: Console) -> None:
    """Print the statistics, a histogram of lengths, and what was refused."""
    table = Table(title=escape(title), caption=escape(policy_words(encoder)), show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    facts = survey_facts(found)
    facts.insert(2, ("tokens", f"{found.tokens:,}, trained {found.trained:,}: {share(found.trained, found.tokens)}"))
    for name, words in facts:
        table.add_row(name, escape(words))
    console.print(table)
    if found.rows:
        lengths = [row.tokens for row in found.rows]
        console.print(f"\ntokens in a row: {quantiles(lengths)}", highlight=False)
        console.print(_lengths(lengths))
    if found.refused:
        console.print(_refusals(found))


def _lengths(lengths: Sequence[int]) -> Table:
    bins = histogram(lengths, 12)
    most = max(count for *_, count in bins)
    table = Table(show_header=False)
    for low, high, count in bins:
        bar = "█" * round(_BAR * count / most) or ("▏" if count else "")
        table.add_row(Text(f"{low:,}–{high:,}", justify="right"), bar.ljust(_BAR), Text(f"{count:,}", justify="right"))
    return table


def _refusals(found: Survey) -> Table:
    table = Table(title=f"{len(found.refused):,} refused")
    table.add_column("how many", justify="right")
    table.add_column("first at")
    table.add_column("why", overflow="fold")
    for count, first in group_refusals(found.refused):
        table.add_row(f"{count:,}", escape(first.where), escape(first.reason))
    return table


def print_tokens(row: Encoded, tokens: Tokens, console: Console) -> None:
    """Print a row: roles as colours, trained tokens bold and reversed, others dim."""
    text = Text()
    for piece, role, label in zip(tokens.pieces, tokens.roles.tolist(), row.labels.tolist()):
        shown = piece.replace("\x1b", "␛")  # data must not steer the terminal
        text.append(shown, f"{_STYLES[role]} {'dim' if label == IGNORE else 'bold reverse'}")
    legend = Text(" ").join(Text(role, _STYLES[number]) for number, role in enumerate(ROLES))
    console.print(legend, Text("reversed: trained"), sep=" · ")
    console.print(text, soft_wrap=True)
