import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen import conversations, questions
from data_gen.split import TOOL, calls_of, draw_heldout_tools, find_leaks, group, main, needed_tools, request_of, split
from toolwright.artifacts import read_manifest, read_records
from toolwright.config import DataGenConfig
from toolwright.errors import ConfigError
from toolwright.records import MODES, Conversation, Message, Plan, ToolCall, ToolSpec

NAMES = [f"tool{n}" for n in range(6)]


def conversation(number, text, calls, offered, mode="single", about=None):
    made = tuple(ToolCall(name=name, arguments={"x": x}) for name, x in calls)
    messages = [Message(role="user", content=text)]
    if made:
        messages += [Message(role="assistant", tool_calls=made), *(Message(role="tool", content="1") for _ in made)]
    messages.append(Message(role="assistant", content="Done."))
    names = list(dict.fromkeys([*(name for name, _ in calls), *offered]))
    tools = tuple(ToolSpec(name=name) for name in names)
    plan = Plan(mode=mode, about=about)
    return Conversation(id=f"q{number:03d}", messages=tuple(messages), tools=tools, mode=mode, plan=plan)


@st.composite
def many(draw):
    rows = []
    for number in range(draw(st.integers(8, 40))):
        made = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 3)), max_size=3))
        offered = draw(st.lists(st.sampled_from(NAMES), max_size=3))
        text = f"Do {draw(st.integers(0, 25))}."
        mode = draw(st.sampled_from(MODES))
        about = draw(st.none() | st.sampled_from(NAMES)) if not made else None
        rows.append(conversation(number, text, made, offered, mode, about))
    return rows


@settings(max_examples=60, deadline=None)
@given(many(), st.integers(0, 3), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_no_side_knows_anything_of_another(rows, n_tools, heldout_share, dev_share, seed):
    config = DataGenConfig(heldout_tools=n_tools, heldout_share=heldout_share, dev_share=dev_share)
    called = {call.name for row in rows for message in row.messages for call in message.tool_calls}
    if n_tools >= max(len(called), 1):
        return
    sides, heldout_tools = split(rows, config, seed)
    assert sorted(row.id for side in sides.values() for row in side) == [row.id for row in rows]
    assert len(heldout_tools) == n_tools
    keys = {
        side: [(request_of(row), tuple(calls_of(row)) or None, row.group) for row in rows]
        for side, rows in sides.items()
    }
    for a, b in (("train", "dev"), ("train", "heldout"), ("dev", "heldout")):
        for part in range(3):
            assert not {key[part] for key in keys[a]} & {key[part] for key in keys[b]} - {None}
    for side in ("train", "dev"):
        assert not any(heldout_tools & {tool.name for tool in row.tools} for row in sides[side])
        assert not any(heldout_tools & needed_tools(row) for row in sides[side])
    assert find_leaks(sides, heldout_tools) == []
    for row in sides["heldout"]:
        if needed_tools(row) & heldout_tools:
            assert row.group.startswith(TOOL)


@pytest.mark.parametrize(
    ("row", "side", "leak"),
    [
        (conversation(7, "Do 1.", [("tool0", 5)], []), "train", "request"),
        (conversation(7, "Other.", [("tool1", 1)], []), "train", "calls"),
        (conversation(7, "Other.", [("tool5", 1)], []), "train", "held-out tool tool5"),
        (conversation(7, "Other.", [], ["tool5"]), "dev", "held-out tool tool5"),
        (conversation(7, "Other.", [], ["tool1"], "no_tool", about="tool5"), "dev", "held-out tool tool5"),
        (conversation(7, "Other.", [], ["tool1"]).model_copy(update={"group": "g"}), "dev", "group"),
        (conversation(7, "Other.", [("tool1", 9)], []), "train", None),
    ],
)
def test_a_leak_is_found(row, side, leak):
    known = conversation(1, "Do 1.", [("tool1", 1)], ["tool5"]).model_copy(update={"group": "g"})
    row = row if row.group else row.model_copy(update={"group": "h"})
    sides = {"train": [], "dev": [], "heldout": [known]}
    sides[side].append(row)
    leaks = find_leaks(sides, {"tool5"})
    assert bool(leaks) == bool(leak)
    if leak:
        assert leak in leaks[0]


def test_conversations_are_one_group_also_through_a_third():
    rows = [
        conversation(1, "Do 1.", [("tool0", 1)], []),
        conversation(2, "do 1", [("tool0", 2)], []),
        conversation(3, "Do 2.", [("tool0", 2)], []),
        conversation(4, "Do 3.", [], []),
    ]
    assert sorted(len(members) for members in group(rows)) == [1, 3]


def test_the_order_of_parallel_calls_makes_no_other_plan():
    rows = [
        conversation(1, "A.", [("tool0", 1), ("tool1", 2)], []),
        conversation(2, "B.", [("tool1", 2), ("tool0", 1)], []),
    ]
    assert len(group(rows)) == 1


def test_heldout_tools_come_from_different_toolsets_and_not_from_chains():
    names = ["shop__a", "shop__b", "bank__c", "bank__d", "post__e", "post__f"]
    rows = [conversation(n, f"Do {n}.", [(name, n)], []) for n, name in enumerate(names * 4)]
    rows += [conversation(50 + n, f"Chain {n}.", [("shop__a", n), ("bank__c", n)], [], "dependent") for n in range(9)]
    for seed in range(10):
        held = draw_heldout_tools(rows, 2, seed)
        assert not held & {"shop__a", "bank__c"}
        assert len({name.partition("__")[0] for name in held}) == 2
    assert len({draw_heldout_tools(rows, 2, seed) for seed in range(10)}) > 1


def test_at_least_one_tool_is_left_to_train_on():
    rows = [conversation(1, "Do 1.", [("tool0", 1)], [])]
    with pytest.raises(ConfigError, match="leave none to train on"):
        draw_heldout_tools(rows, 1, 0)


def test_a_held_out_tool_that_is_only_on_offer_is_taken_away():
    rows = [conversation(n, f"Do {n}.", [(NAMES[n % 6], n)], NAMES[:3]) for n in range(60)]
    sides, held = split(rows, DataGenConfig(heldout_tools=1, heldout_share=0.2), 1)
    assert len(sides["train"]) > 30
    assert not any(tool.name in held for side in ("train", "dev") for row in sides[side] for tool in row.tools)


def test_the_command_writes_three_files_that_share_nothing(tmp_path, capsys):
    words = [f"runs_dir={tmp_path}"]
    assert questions.main(["-n", "120", *words]) == 0
    assert conversations.main(words) == 0
    assert main(words) == 0
    assert "no leaks" in capsys.readouterr().out
    run = tmp_path / "tiny"
    sides = {s: read_records(run / f"{s}.jsonl", Conversation.from_row) for s in ("train", "dev", "heldout")}
    manifest = read_manifest(run / "train.jsonl")
    assert find_leaks(sides, manifest.counts["heldout_tools"]) == []
    assert len(manifest.counts["heldout_tools"]) == 3
    assert sum(len(rows) for rows in sides.values()) == 120
    assert {row.group[:5] for row in sides["heldout"]} == {"tool-", "plan-"}
    assert main(words) == 0
    assert capsys.readouterr().out.count("up to date") == 3


def test_a_broken_line_is_named(tmp_path, capsys):
    from toolwright.artifacts import fingerprint, manifest_path

    words = [f"runs_dir={tmp_path}"]
    assert questions.main(["-n", "10", *words]) == 0
    assert main(words) == 2
    assert "python -m data_gen.conversations" in capsys.readouterr().err
    assert conversations.main(words) == 0
    path = tmp_path / "tiny" / "conversations.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[4]["messages"][0]["role"] = "human"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = json.loads(manifest_path(path).read_text())
    manifest_path(path).write_text(json.dumps(manifest | {"sha256": fingerprint(path)}))
    assert main(words) == 2
    assert "conversations.jsonl:5: messages[0].role" in capsys.readouterr().err
