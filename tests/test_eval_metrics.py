"""The judgement of tasks and the statistics, on cases worked by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics import Attempt, CallRecord, judge, looks_like_a_call, mcnemar_exact, wilson_interval
from toolwright.records import Plan, Step, ToolCall

PRICE = ToolCall(name="spot_price", arguments={"hub": "TTF", "day": "2025-03-01"})
OTHER = ToolCall(name="spot_price", arguments={"hub": "NBP", "day": "2025-03-01"})
CONVERT = ToolCall(name="convert", arguments={"value": 30.5, "to": "USD/MMBtu"})


def made(*calls: ToolCall, error=None) -> tuple[CallRecord, ...]:
    return tuple(CallRecord(name=call.name, arguments=call.arguments, error=error) for call in calls)


def plan(mode, *steps: tuple[ToolCall, ...], state=None) -> Plan:
    return Plan(mode=mode, steps=tuple(Step(calls=step) for step in steps), state=state)


@pytest.mark.parametrize(
    ("task", "attempt", "reason"),
    [
        (plan("single", (PRICE,)), Attempt(calls=made(PRICE), answer="30.5"), None),
        (plan("single", (PRICE,)), Attempt(calls=made(OTHER), answer="30.5"), "wrong arguments for spot_price"),
        (plan("single", (PRICE,)), Attempt(calls=made(CONVERT), answer="x"), "called convert not spot_price"),
        (plan("single", (PRICE,)), Attempt(answer="I think 30"), "executed no call"),
        (plan("single", (PRICE,)), Attempt(calls=made(PRICE), answer="  "), "ended without an answer"),
        (
            plan("single", (PRICE,)),
            Attempt(calls=made(PRICE), stopped="max_turns"),
            "ended without an answer (max_turns)",
        ),
        (plan("single", (PRICE,)), Attempt(calls=made(PRICE, PRICE), answer="x"), "one call too many: spot_price"),
        (plan("parallel", (PRICE, OTHER)), Attempt(calls=made(OTHER, PRICE), answer="x"), None),
        (plan("parallel", (PRICE, OTHER)), Attempt(calls=made(PRICE), answer="x"), "left out spot_price"),
        (plan("parallel", (PRICE, PRICE)), Attempt(calls=made(PRICE), answer="x"), "left out spot_price"),
        (plan("multiple", (PRICE,), (CONVERT,)), Attempt(calls=made(CONVERT, PRICE), answer="x"), None),
        (plan("dependent", (PRICE,), (CONVERT,)), Attempt(calls=made(PRICE, CONVERT), answer="x"), None),
        (
            plan("dependent", (PRICE,), (CONVERT,)),
            Attempt(calls=made(CONVERT, PRICE), answer="x"),
            "made dependent calls in the wrong order",
        ),
        (
            plan("dependent", (PRICE, OTHER), (CONVERT,)),
            Attempt(calls=made(OTHER, PRICE, CONVERT), answer="x"),
            None,
        ),
        (plan("single", (PRICE,), state="a"), Attempt(calls=made(PRICE), answer="x", state="a"), None),
        (
            plan("single", (PRICE,), state="a"),
            Attempt(calls=made(PRICE), answer="x", state="b"),
            "left the environment in another state",
        ),
        (plan("no_tool"), Attempt(answer="Hello."), None),
        (plan("missing_parameter"), Attempt(answer="Which day?"), None),
        (plan("no_tool"), Attempt(calls=made(PRICE), answer="x"), "called spot_price where no call was due"),
        (plan("no_tool"), Attempt(answer=None, stopped="length"), "ended without an answer (length)"),
        (
            plan("no_tool"),
            Attempt(answer="<tool_call>{", call_like_text=True),
            "wrote text that looks like a call where no call was due",
        ),
    ],
)
def test_a_task_passes_only_when_exactly_the_planned_was_done(task, attempt, reason):
    verdict = judge(task, attempt)
    assert verdict.passed is (reason is None)
    if reason:
        assert verdict.reason == reason


def test_a_refused_call_that_the_model_repaired_is_no_extra_call_but_counts_as_malformed():
    calls = made(ToolCall(name="spot_price", arguments={}), error="bad_arguments") + made(PRICE)
    verdict = judge(plan("single", (PRICE,)), Attempt(calls=calls, answer="x"))
    assert verdict.passed
    assert (verdict.calls, verdict.malformed) == (2, 1)
    assert verdict.name == pytest.approx(2 / 3)


@pytest.mark.parametrize(("error", "passed"), [("tool_error", False), ("timeout", False), ("unknown_tool", True)])
def test_a_call_that_ran_and_failed_is_an_extra_call(error, passed):
    calls = made(OTHER, error=error) + made(PRICE)
    assert judge(plan("single", (PRICE,)), Attempt(calls=calls, answer="x")).passed is passed


def test_a_refused_call_alone_is_named_with_its_error():
    verdict = judge(plan("single", (PRICE,)), Attempt(calls=made(PRICE, error="bad_arguments"), answer="x"))
    assert verdict.reason == "executed no call: spot_price was refused (bad_arguments)"


def test_name_parameters_and_values_are_told_apart():
    call = ToolCall(name="spot_price", arguments={"hub": "TTF", "date": "2025-03-01"})
    verdict = judge(plan("single", (PRICE,)), Attempt(calls=made(call), answer="x"))
    assert (verdict.name, verdict.parameters, verdict.values) == (1.0, 0.5, 0.5)
    assert judge(plan("no_tool"), Attempt(answer="x")).name is None


def test_state_and_abstention_are_reported_only_where_they_mean_something():
    called = judge(plan("single", (PRICE,), state="a"), Attempt(calls=made(PRICE), answer="x", state="b"))
    assert (called.state, called.abstained) == (False, None)
    silent = judge(plan("no_tool", state="a"), Attempt(answer="x", state="a"))
    assert (silent.state, silent.abstained) == (None, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<tool_call>\n{"name": "f"', True),
        ('{"name": "spot_price", "arguments": {}}', True),
        ("✿FUNCTION✿: spot_price", True),
        ("<|python_tag|>f()", True),
        ("The price is 30.5 EUR/MWh.", False),
        ('The file says {"name": "Rehden", "capacity": 4}.', False),
        (None, False),
    ],
)
def test_text_that_looks_like_a_call_is_found(text, expected):
    assert looks_like_a_call(text) is expected


@pytest.mark.parametrize(
    ("passed", "n", "low", "high"),
    [
        # by hand, z² = 3.8415: (k + z²/2 ± z·sqrt(k(n-k)/n + z²/4)) / (n + z²)
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (30, 300, 0.0709, 0.1392),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_intervals_agree_with_hand_worked_ones(passed, n, low, high):
    assert wilson_interval(passed, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_wilson_interval_holds_the_share_and_mirrors(case):
    passed, n = case
    low, high = wilson_interval(passed, n)
    assert 0 <= low <= passed / n + 1e-12
    assert passed / n - 1e-12 <= high <= 1
    mirrored = wilson_interval(n - passed, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),
        (6, 0, 2 / 64),
        (8, 2, 2 * (1 + 10 + 45) / 1024),
        (3, 3, 1.0),
        (10, 3, 2 * (1 + 13 + 78 + 286) / 8192),
    ],
)
def test_mcnemar_agrees_with_hand_worked_tails(wins, losses, p):
    assert mcnemar_exact(wins, losses) == pytest.approx(p)


def test_mcnemar_is_symmetric_and_survives_thousands_of_tasks():
    assert mcnemar_exact(30, 12) == mcnemar_exact(12, 30)
    assert 0 < mcnemar_exact(3000, 2700) < 1e-3
    assert math.isfinite(mcnemar_exact(4000, 0))
