"""The ToolRL reward against executed reference scores, hand-worked cases, and properties."""

import itertools
import json
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.rewards.call_matching import max_weight_assignment
from rl.rewards.toolrl import SWITCHES, Bounds, GroundTruthError, bounds, score, score_calls
from toolwright.errors import ToolwrightError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

Call = dict[str, Any]


def call(name: str, **parameters: Any) -> Call:
    return {"name": name, "parameters": parameters}


def tool_text(calls: Sequence[Any], think: str = " ok ") -> str:
    lines = "\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in calls)
    return f"<think>{think}</think>\n<tool_call>\n{lines}\n</tool_call>"


def response_text(text: str) -> str:
    return f"<think> ok </think>\n<response>{text}</response>"


ONE = call("add", a=1, b=2)
GOLD_ONE = tool_text([ONE])
BOTH = tool_text([ONE]) + "\n<response>sum</response>"


# --- executed reference scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "rows"), [("toolrl_cases.jsonl", 300), ("toolrl_switches.jsonl", 480)])
def test_every_executed_reference_score_is_reproduced_bit_for_bit(file: str, rows: int) -> None:
    path = DATA / file
    if not path.exists():
        pytest.skip(f"{path} is test data that is never shipped")
    cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(cases) == rows
    for case in cases:
        switches = frozenset(name for name, value in case.get("switches", {}).items() if value == 1)
        got = score(case["completion"], case["ground_truth"], step=case.get("step", 0), switches=switches)
        wanted = (case["total"], case["format_reward"], case["correctness_reward"], case.get("length_reward", 0.0))
        assert struct.pack("<4d", *got) == struct.pack("<4d", *wanted), case["id"]


# --- correctness, worked by hand -------------------------------------------------------------------------------------

FIGURE_GOLD = [call("Get_Price", loc_1="ORD", loc_2="SFO"), call("Get_Price", loc_1="ORD", loc_2="LAX")]
TIED = [call("f", x=1, z=0), call("f", x=1, w=0)]
TIED_GOLD = [call("f", x=1, y=2), call("f", x=1, z=0)]
FIGURE_1 = [FIGURE_GOLD[0], call("Get_Price", loc_2="LAX")]
FIGURE_2 = [call("Get_Flight", **{"from": "ORD", "to": "SFO"}), call("Get_Price", loc_1="ORD", loc_2="LAX")]
NESTED = [call("A", x=1), call("A", x=1, y=2)]
NESTED_PREDICTED = [call("A", x=1, y=2), call("A", x=5)]


@pytest.mark.parametrize(
    ("predicted", "gold", "greedy", "optimal"),
    [
        pytest.param([call("f", x=1)], [call("f", x=1)], 3.0, 3.0, id="equal"),
        pytest.param([call("g", x=1)], [call("f", x=1)], -3.0, -3.0, id="wrong name"),
        pytest.param([], [call("f", x=1)], -3.0, -3.0, id="no call"),
        # names 1 + keys 1 + values 1 of 1 + (1 + 2)
        pytest.param([call("f", x=1, y=0)], [call("f", x=1, y=2)], 6 * 3 / 4 - 3, 1.5, id="one wrong value"),
        # names 1 + keys 1/2 + values 1 of 4
        pytest.param([call("f", x=1)], [call("f", x=1, y=2)], 0.75, 0.75, id="a key is missing"),
        pytest.param(
            [call("f", x=1, y=2, z=3)], [call("f", x=1, y=2)], 6 * (1 + 2 / 3 + 2) / 4 - 3, 2.5, id="extra key"
        ),
        pytest.param([call("f"), call("g")], [call("g"), call("f")], 3.0, 3.0, id="swapped"),
        pytest.param([call("f")], [call("f"), call("f")], 6 * 1.5 / 3 - 3, 0.0, id="one of two twins"),
        pytest.param(FIGURE_1, FIGURE_GOLD, 1.7142857142857144, 1.7142857142857144, id="README figure, rollout 1"),
        pytest.param([call("f"), call("f"), call("g")], [call("f"), call("g"), call("g")], 0.75, 0.75, id="names 2/4"),
        pytest.param(
            TIED, TIED_GOLD, 6 * (1 + 4 / 3 + 4 / 3) / 7 - 3, 6 * (1 + 4 / 3 + 3) / 7 - 3, id="earliest of a tie"
        ),
        # names 1/3, then the first gold call takes the only Get_Price although the second one equals it
        pytest.param(FIGURE_2, FIGURE_GOLD, -1.0, 6 * (1 / 3 + 1 + 2) / 7 - 3, id="README figure, rollout 2"),
        pytest.param(NESTED_PREDICTED, NESTED, 0.0, 2.0, id="greedy takes the wrong twin"),
        pytest.param(NESTED_PREDICTED, NESTED[::-1], 2.0, 2.0, id="the same gold in the other order"),
        pytest.param(
            [call("f", a=1, b=2, c=3), *[call(f"junk{n}") for n in range(99)]],
            [call("f", a=1, b=2, c=3)],
            6 * (0.01 + 1 + 3) / 5 - 3,
            1.812,
            id="99 junk calls",
        ),
        pytest.param([call("f", x=True)], [call("f", x=1)], 3.0, 3.0, id="True is 1"),
        pytest.param([call("f", x=1.0)], [call("f", x=1)], 3.0, 3.0, id="1.0 is 1"),
        pytest.param([call("f", x="5")], [call("f", x=5)], 6 * 2 / 3 - 3, 1.0, id="'5' is not 5"),
    ],
)
def test_calls_score_their_hand_worked_value(
    predicted: list[Call], gold: list[Call], greedy: float, optimal: float
) -> None:
    assert score_calls(predicted, gold) == greedy
    assert score_calls(predicted, gold, matching="optimal") == pytest.approx(optimal, abs=1e-12)
    through_text = score(tool_text(predicted), tool_text(gold)).correctness
    assert through_text == (greedy if predicted else -3.0)


@pytest.mark.parametrize(
    ("predicted", "gold", "switches", "wanted"),
    [
        # REFINED: one wrong order among names or keys costs the whole term
        ([call("f"), call("g")], [call("g"), call("f")], {"REFINEDREWARD"}, 6 * 2 / 3 - 3),
        ([call("f", y=2, x=1)], [call("f", x=1, y=2)], {"REFINEDREWARD"}, 3.0),  # equal dicts, so equal lists
        ([call("f", y=0, x=1)], [call("f", x=1, y=2)], {"REFINEDREWARD"}, 6 * 2 / 4 - 3),
        ([call("f", x=1), call("g", y=0)], [call("f", x=1), call("g", y=2)], {"INTERMEDIATEREWARD"}, 6 * 2 / 3 - 3),
        ([call("f"), call("g")], [call("g"), call("f")], {"INTERMEDIATEREWARD", "REFINEDREWARD"}, 6 * 2 / 3 - 3),
        ([call("f"), call("g")], [call("g"), call("f")], {"COARSEREWARD"}, -3.0),
        ([call("f"), call("g")], [call("g"), call("f")], {"COARSEREWARD", "INTERMEDIATEREWARD"}, -3.0),
        ([call("f")], [call("f")], {"COARSEREWARD"}, 3.0),
        ([call("f", x=1, y=0)], [call("f", x=1, y=2)], {"STRICTMATCH"}, 1.5),
    ],
)
def test_switches_change_how_calls_are_compared(
    predicted: list[Call], gold: list[Call], switches: set[str], wanted: float
) -> None:
    assert score_calls(predicted, gold, switches=frozenset(switches)) == wanted
    assert score(tool_text(predicted), tool_text(gold), switches=frozenset(switches)).correctness == wanted


def test_a_gold_call_without_a_parameter_object_does_not_put_optimal_below_greedy() -> None:
    gold: list[Any] = [call("f", x=1), {"name": "f", "parameters": ["x"]}]
    assert score_calls([call("f", x=1)], gold) == 6 * (1 / 2 + 2) / 5 - 3
    assert score_calls([call("f", x=1)], gold, matching="optimal") == 6 * (1 / 2 + 2) / 5 - 3


def test_nan_equals_nan_only_where_the_whole_lists_are_equal() -> None:
    gold = tool_text(['{"name": "f", "parameters": {"x": NaN, "y": 1}}'])
    assert score(gold.replace(" ok ", "\n"), gold).correctness == 3.0
    spaced = tool_text(['{"name":"f","parameters":{"x":NaN,"y":1}}'])
    assert score(spaced, gold).correctness == 3.0
    extra = tool_text(['{"name": "f", "parameters": {"x": NaN, "y": 2}}'])
    assert score(extra, gold).correctness == 6 * 2 / 4 - 3


# --- text: what is read, what voids ----------------------------------------------------------------------------------

LINE = json.dumps(ONE)


@pytest.mark.parametrize(
    ("completion", "wanted"),
    [
        pytest.param(GOLD_ONE, (1.0, 3.0), id="verbatim"),
        pytest.param(f"\n {GOLD_ONE} \n", (1.0, 3.0), id="surrounding whitespace"),
        pytest.param("", (0.0, -3.0), id="empty"),
        pytest.param(f"{GOLD_ONE}\nDone.", (0.0, 3.0), id="text after the block"),
        pytest.param(GOLD_ONE.partition("\n")[2], (0.0, 3.0), id="no think"),
        pytest.param(tool_text([ONE, ""]), (1.0, 3.0), id="blank line at the end"),
        pytest.param(tool_text([ONE, "", ONE]), (1.0, -3.0), id="blank line between"),
        pytest.param(tool_text([LINE + "\r"]), (1.0, 3.0), id="carriage return in the block"),
        pytest.param(tool_text([f" {LINE} "]), (1.0, 3.0), id="spaces around a call"),
        pytest.param(tool_text([json.dumps([ONE])]), (1.0, -3.0), id="JSON array"),
        pytest.param(tool_text([json.dumps(ONE, indent=1)]), (1.0, -3.0), id="pretty JSON"),
        pytest.param(tool_text(["```json", ONE, "```"]), (1.0, -3.0), id="code fence"),
        pytest.param(tool_text([LINE + LINE]), (1.0, -3.0), id="two calls on a line"),
        pytest.param(tool_text([{"name": "add", "arguments": {"a": 1, "b": 2}}]), (1.0, -3.0), id="arguments key"),
        pytest.param(tool_text([{"name": "add", "parameters": [1]}]), (1.0, -3.0), id="parameters list"),
        pytest.param(
            tool_text([ONE, {"name": "x"}]), (1.0, 6 * (1 / 2 + 3) / 4 - 3), id="other call has no parameters"
        ),
        pytest.param(tool_text([ONE, {"parameters": {}}]), (1.0, -3.0), id="no name"),
        pytest.param(tool_text([{"name": ["add"], "parameters": {}}]), (1.0, -3.0), id="unhashable name"),
        pytest.param(tool_text(["1" * 5000]), (1.0, -3.0), id="too many digits"),
        pytest.param(tool_text(["[" * 100_000]), (1.0, -3.0), id="too deep"),
        pytest.param(GOLD_ONE + "\n" + GOLD_ONE.partition("\n")[2], (0.0, 3.0), id="two blocks"),
        pytest.param(tool_text([call("x")]) + GOLD_ONE, (0.0, -3.0), id="only the first block counts"),
        pytest.param(tool_text([ONE], think=" use <tool_call> "), (0.0, -3.0), id="tag in think"),
        pytest.param(f"</tool_call><tool_call>\n{LINE}", (0.0, 3.0), id="closed before it opens"),
        pytest.param(f"<tool_call>\n{LINE}", (0.0, -3.0), id="never closed"),
        pytest.param(f"<tool_call>\n{LINE}\n<tool_call> </tool_call>", (0.0, 3.0), id="a segment ends at the next tag"),
        pytest.param(GOLD_ONE.replace("</think>\n", "</think>\n\n"), (0.0, 3.0), id="two line ends"),
        pytest.param(GOLD_ONE.replace("</think>\n", "</think>\r\n"), (0.0, 3.0), id="CRLF"),
        pytest.param(GOLD_ONE.replace("\n</tool", "</tool"), (0.0, 3.0), id="no line end before the closing tag"),
        pytest.param(
            f"<think><think></think></think>{GOLD_ONE[len('<think> ok </think>') :]}", (1.0, 3.0), id="thinks"
        ),
        pytest.param("<think></think>\n<tool_call>\n</tool_call>", (0.0, -3.0), id="one line end for two"),
        pytest.param(f"{GOLD_ONE}<|im_end|>junk", (1.0, 3.0), id="cut at the turn's end"),
        pytest.param(f"{GOLD_ONE}<|endoftext|>", (0.0, 3.0), id="another end marker stays"),
        pytest.param(f"junk<|im_end|><|im_start|>assistant\n{GOLD_ONE}<|im_end|>", (1.0, 3.0), id="header restarts"),
        pytest.param(f"{GOLD_ONE}<|im_start|>assistant\n", (0.0, -3.0), id="header at the end"),
    ],
)
def test_a_completion_is_read_exactly_as_the_reference_reads_it(completion: str, wanted: tuple[float, float]) -> None:
    got = score(completion, GOLD_ONE)
    assert (got.format, got.correctness) == wanted
    assert got.total == got.format + got.correctness
    assert got.length == 0.0


@pytest.mark.parametrize(
    ("completion", "gold", "wanted"),
    [
        (response_text("hi"), response_text("other"), 1.0),
        (GOLD_ONE, response_text("other"), 0.0),  # a hallucinated call costs the format point only
        ("<think>" + GOLD_ONE + "</think>\n<response>x</response>", response_text("other"), 1.0),
        (response_text("a") + response_text("b"), response_text("other"), 0.0),
        ("<think> a </think>", "<think> b </think>", 1.0),
        ("<think></think>x", "plain gold", 0.0),
        ("<think>", "plain gold", 0.0),
        ("<think>x</think></think>", "plain gold", 1.0),
    ],
)
def test_without_a_gold_call_only_the_format_is_scored(completion: str, gold: str, wanted: float) -> None:
    assert score(completion, gold) == (wanted, wanted, 0.0, 0.0)


@pytest.mark.parametrize(
    ("completion", "wanted"),
    [
        (BOTH, 1.0),
        (BOTH.replace("\n<response>", "<response>"), 0.0),
        (GOLD_ONE, 0.0),
        (BOTH + "<response></response>", 0.0),
        (BOTH + "x", 0.0),
    ],
)
def test_a_gold_with_call_and_response_wants_both_in_order(completion: str, wanted: float) -> None:
    assert score(completion, BOTH).format == wanted


def test_a_gold_that_mentions_the_tag_in_its_think_text_is_refused_with_its_line() -> None:
    with pytest.raises(GroundTruthError, match=r"line 1 .*'to see if.*not JSON.*no <tool_call> inside") as caught:
        score(GOLD_ONE, tool_text([ONE], think=" use <tool_call> to see if "))
    assert isinstance(caught.value, ToolwrightError)
    with pytest.raises(GroundTruthError, match="line 2"):
        score(GOLD_ONE, tool_text([ONE, "oops"]))


# --- switches: ranges and length -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "switches", "wanted"),
    [
        (0, set(), (0, 1, -3, 3)),
        (200, set(), (0, 1, -3, 3)),
        (7, {"CORRECTMAX1"}, (0, 1, -1, 1)),
        (29, {"MAX1STEP30MAX3"}, (0, 1, -1, 1)),
        (30, {"MAX1STEP30MAX3"}, (0, 0.5, -3, 3)),
        (29, {"MAX1STEP30MAX3", "CORRECTMAX1"}, (0, 1, -1 / 3, 1 / 3)),
        (0, {"SCHEDULEREWARD"}, (-2, 2, -2, 2)),
        (75, {"SCHEDULEREWARD"}, (-1, 1.5, -2.5, 2.5)),
        (30, {"SCHEDULEREWARD"}, (-1.6, 1.8, -2.2, 2.2)),
        (150, {"SCHEDULEREWARD"}, (-1, 1, -3, 3)),
        (300, {"SCHEDULEREWARD"}, (-1, 1, -3, 3)),
        (75, {"SCHEDULEREWARD", "CORRECTMAX1"}, (-1, 1.5, -1.5, 1.5)),
        (300, {"SCHEDULEREWARD", "CORRECTMAX1"}, (-1, 1, 0, 0)),
        (450, {"SCHEDULEREWARD", "CORRECTMAX1"}, (-1, 1, 1, -1)),  # the reference's schedule has no end
        (75, {"SCHEDULEREWARD", "MAX1STEP30MAX3"}, (-1, 1.25, -2.5, 2.5)),
        (75, {"WITHLENGTH", "SCHEDULELENGTH", "STRICTMATCH", "REFINEDREWARD"}, (0, 1, -3, 3)),
    ],
)
def test_ranges_follow_step_and_switches(step: int, switches: set[str], wanted: tuple[float, ...]) -> None:
    assert bounds(step, frozenset(switches)) == wanted
    low, high = Bounds(*wanted)[2:]
    assert score(GOLD_ONE, GOLD_ONE, step=step, switches=frozenset(switches)).correctness == high
    assert score("", GOLD_ONE, step=step, switches=frozenset(switches)).correctness == low


@pytest.mark.parametrize(
    ("words", "step", "switches", "wanted"),
    [
        (256, 0, {"WITHLENGTH"}, 0.5),
        (100, 0, {"WITHLENGTH"}, 0.2),  # 0.1953
        (600, 0, {"WITHLENGTH"}, 1.0),
        (0, 0, {"WITHLENGTH"}, 0.0),
        (192, 0, {"WITHLENGTH", "SCHEDULELENGTH"}, 0.5),
        (320, 105, {"WITHLENGTH", "SCHEDULELENGTH"}, 0.5),
        (256, 0, {"SCHEDULELENGTH"}, 0.0),
        (256, 0, set(), 0.0),
    ],
)
def test_length_counts_think_words_only_when_asked(words: int, step: int, switches: set[str], wanted: float) -> None:
    completion = tool_text([ONE], think=" word" * words)
    got = score(completion, GOLD_ONE, step=step, switches=frozenset(switches))
    assert got == (1.0 + 3.0 + wanted, 1.0, 3.0, wanted)


def test_length_counts_from_the_last_opening_to_the_next_closing_tag() -> None:
    switches = frozenset({"WITHLENGTH"})
    think = " a b c <think>" + " word" * 256 + "</think> d e f "
    assert score(tool_text([ONE], think=think), GOLD_ONE, switches=switches).length == 0.5
    assert score("</think>" + " word" * 512 + "<think>", GOLD_ONE, switches=switches).length == 0.0
    assert score("<think>" + " word" * 512, GOLD_ONE, switches=switches).length == 0.0


def test_unknown_switches_and_matchings_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown ToolRL switch 'COARSE_REWARD'; did you mean COARSEREWARD\?"):
        score(GOLD_ONE, GOLD_ONE, switches=frozenset({"COARSE_REWARD"}))
    with pytest.raises(ValueError, match="did you mean WITHLENGTH"):
        bounds(0, frozenset({"withlength"}))
    with pytest.raises(ValueError, match="unknown matching 'best'; use one of: greedy, optimal"):
        score(GOLD_ONE, GOLD_ONE, matching="best")  # type: ignore[arg-type]


# --- properties ------------------------------------------------------------------------------------------------------

VALUES = st.sampled_from([0, 1, True, 1.0, "1", None, [1], {"k": [True]}])
CALLS = st.lists(
    st.builds(
        lambda name, parameters: {"name": name, "parameters": parameters},
        st.sampled_from(["f", "f", "g", "h"]),
        st.dictionaries(st.sampled_from("abcde"), VALUES, max_size=4),
    ),
    max_size=5,
)
GOLD_CALLS = CALLS.filter(bool)
ANY_SWITCHES = st.frozensets(st.sampled_from(sorted(SWITCHES)), max_size=4)
# Those under which the order of equal calls carries no credit.
ORDERLESS = st.sampled_from([frozenset[str](), frozenset({"CORRECTMAX1"}), frozenset({"INTERMEDIATEREWARD"})])
FRAGMENTS = [
    *(
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<response>",
        "</response>",
        "\n",
        " ",
        "x",
        LINE,
        "[",
        "{}",
    ),
    *("</think>\n<tool_call>\n", "\n</tool_call>", "\n</tool_call>\n<response>", "</think>\n<response>"),
    *("<|im_start|>assistant", "<|im_end|>"),
]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), CALLS.map(tool_text))
GOLDS = st.one_of(GOLD_CALLS.map(tool_text), st.sampled_from([BOTH, response_text("x"), "<think> x </think>"]))


# Up to the step from which CORRECTMAX1 + SCHEDULEREWARD turn the range round.
@given(TEXTS, GOLDS, st.integers(0, 300), ANY_SWITCHES, st.sampled_from(["greedy", "optimal"]))
def test_any_completion_scores_within_the_ranges(
    completion: str, gold: str, step: int, switches: frozenset[str], matching: Any
) -> None:
    got = score(completion, gold, step=step, switches=switches, matching=matching)
    limits = bounds(step, switches)
    assert got.format in (limits.format_min, limits.format_max)
    if "<tool_call>" in gold:
        assert limits.correctness_min <= got.correctness <= limits.correctness_max
    else:
        assert got.correctness == 0.0
    assert 0.0 <= got.length <= 1.0
    assert got.total == got.format + got.correctness + got.length


@given(CALLS, GOLD_CALLS, ANY_SWITCHES)
def test_optimal_matching_never_scores_below_greedy(
    predicted: list[Call], gold: list[Call], switches: frozenset[str]
) -> None:
    greedy = score_calls(predicted, gold, switches=switches)
    assert score_calls(predicted, gold, switches=switches, matching="optimal") >= greedy


@given(CALLS, GOLD_CALLS, ORDERLESS, st.randoms(use_true_random=False))
def test_optimal_matching_does_not_depend_on_the_order_of_gold(
    predicted: list[Call], gold: list[Call], switches: frozenset[str], random: Any
) -> None:
    shuffled = random.sample(gold, len(gold))
    one = score_calls(predicted, gold, switches=switches, matching="optimal")
    other = score_calls(predicted, shuffled, switches=switches, matching="optimal")
    assert one == pytest.approx(other, abs=1e-12)


@given(GOLD_CALLS, ANY_SWITCHES, st.sampled_from(["greedy", "optimal"]), st.integers(0, 400))
def test_equal_calls_score_the_maximum(gold: list[Call], switches: frozenset[str], matching: Any, step: int) -> None:
    text = tool_text(gold)
    got = score(text.replace(" ok ", "\n"), text, step=step, switches=switches, matching=matching)
    assert got.correctness == bounds(step, switches).correctness_max
    assert got.format == bounds(step, switches).format_max


@given(GOLD_CALLS, ORDERLESS, st.randoms(use_true_random=False))
def test_optimal_matching_gives_reordered_equal_calls_the_maximum(
    gold: list[Call], switches: frozenset[str], random: Any
) -> None:
    shuffled = random.sample(gold, len(gold))
    assert score_calls(shuffled, gold, switches=switches, matching="optimal") == 3.0


@given(
    st.integers(1, 5).flatmap(
        lambda width: st.lists(st.lists(st.integers(0, 6), min_size=width, max_size=width), min_size=1, max_size=5)
    )
)
def test_the_assignment_is_the_best_of_all(weights: list[list[int]]) -> None:
    width = max(len(weights), len(weights[0]))
    padded = [row + [0] * (width - len(row)) for row in weights]
    columns = max_weight_assignment(weights)
    assert len(set(columns)) == len(weights)
    best = max(
        sum(row[at] for row, at in zip(padded, order)) for order in itertools.permutations(range(width), len(padded))
    )
    assert sum(row[at] for row, at in zip(padded, columns)) == best


PATTERNS = {
    GOLD_ONE: (r"^<think>.*?</think>\n<tool_call>\n.*?\n</tool_call>$", ["tool_call"]),
    response_text("x"): (r"^<think>.*?</think>\n<response>.*?</response>$", ["response"]),
    BOTH: (
        r"^<think>.*?</think>\n<tool_call>\n.*?\n</tool_call>\n<response>.*?</response>$",
        ["tool_call", "response"],
    ),
    "plain": (r"^<think>.*?</think>$", []),
}


@given(st.lists(st.sampled_from(FRAGMENTS[:-2]), max_size=9).map(lambda parts: "<think>" + "".join(parts)))
def test_format_is_what_the_anchored_lazy_patterns_say(text: str) -> None:
    text = text.strip()
    for gold, (pattern, once) in PATTERNS.items():
        counts = [text.count(tag.format(name)) for name in once for tag in ("<{}>", "</{}>")]
        wanted = re.search(pattern, text, re.DOTALL) is not None and all(count == 1 for count in counts)
        assert score(text, gold).format == float(wanted)
