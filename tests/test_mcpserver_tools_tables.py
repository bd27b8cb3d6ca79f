import datetime
import decimal
import io
import json

import pytest
from tabular_world import files, parquets, random_calls, refusal, tools_of, workbooks
from tool_calls import World

from mcpserver.tools.tabular import table_edits, table_figures, table_shapes, tables
from mcpserver.tools.tabular.table_edits import (
    append_table_rows,
    cast_columns,
    clean_text_columns,
    delete_table_rows,
    fill_missing,
    replace_values,
    update_table_rows,
)
from mcpserver.tools.tabular.table_figures import (
    bin_column,
    column_quantiles,
    correlate_columns,
    count_values,
    derive_column,
    find_outliers,
    histogram_column,
    missing_report,
    resample_table,
    roll_column,
    validate_table,
)
from mcpserver.tools.tabular.table_shapes import (
    compare_table_files,
    concatenate_tables,
    convert_table,
    group_table,
    join_tables,
    pivot_table,
    split_table,
    split_table_by_column,
    unpivot_table,
)
from mcpserver.tools.tabular.tables import (
    compute_column,
    describe_table_file,
    drop_columns,
    drop_duplicate_rows,
    filter_table,
    read_table,
    sample_table,
    select_columns,
    sort_table,
    summarize_table,
    top_rows,
)

PRICES = {f"files/prices/{hub}.csv": b"date,close\n2025-01-02,30.5\n2025-01-03,31\n" for hub in ("ttf", "nbp")}
BASE = files() | workbooks() | parquets() | PRICES
TOOLS = tools_of(tables, table_shapes, table_figures, table_edits)
SMALL = "id,team,score,day,note\n1,a,10,2025-01-01,x\n2,b,,2025-01-02,\n3,a,30,2025-02-01,x\n4,b,5.5,2025-02-03,y\n"


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path, BASE)
    world.write("small.csv", SMALL)
    return world


def text(world, path):
    return (world.workspace.files / path).read_text()


def small(world, tool, **arguments):
    return world.call(tool, path="small.csv", **arguments)


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_every_example_of_a_table_tool_works(world, name):
    tool = TOOLS[name]
    assert tool.examples
    for example in tool.examples:
        result = World(world.workspace.root, BASE).call(tool, **example)
        assert len(json.dumps(result)) < 16_000


ROWS = [{"id": 1, "name": "Ä", "share": 0.5, "ok": True}, {"id": 2, "name": None, "share": None, "ok": False}]


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "xlsx", "parquet"])
def test_a_table_is_the_same_in_every_format(world, kind):
    world.write("rows.json", json.dumps(ROWS))
    done = world.call(convert_table, path="rows.json", format=kind, output=f"out/rows.{kind}")
    assert done["written"] == f"out/rows.{kind}"
    first = (world.workspace.files / f"out/rows.{kind}").read_bytes()
    assert world.call(read_table, path=f"out/rows.{kind}")["rows"] == ROWS
    world.call(convert_table, path=f"out/rows.{kind}", format=kind)
    assert (world.workspace.files / f"out/rows.{kind}").read_bytes() == first


def test_types_of_columns_are_told_from_what_is_written(world):
    world.write(
        "t.csv",
        "code,whole,number,flag,big,empty,day\n007,1,1e3,true,99999999999999999999,,2025-01-01\n8,,-.5,FALSE,1,,x\n",
    )
    columns = world.call(describe_table_file, path="t.csv")["columns"]
    assert {column["name"]: column["type"] for column in columns} == {
        "code": "text", "whole": "integer", "number": "number", "flag": "boolean", "big": "number", "empty": "text",
        "day": "text",
    }  # fmt: skip
    row = world.call(read_table, path="t.csv")["rows"][0]
    assert (row["code"], row["number"], row["flag"], row["empty"]) == ("007", 1000.0, True, None)


def test_pages_of_a_table(world):
    page = world.call(read_table, path="data/sales.csv", columns=["order_id"], limit=3, offset=397)
    assert page == {"rows": [{"order_id": 397}, {"order_id": 398}, {"order_id": 399}], "total": 400}
    assert world.call(read_table, path="data/sales.csv", limit=2)["next_offset"] == 2
    long = "\n".join(["text", *("x" * 9000 for _ in range(50))])
    world.write("long.csv", long)
    assert len(json.dumps(world.call(read_table, path="long.csv"))) < 16_000
    wide = ",".join(f"column number {n}" for n in range(200))
    world.write("wide.csv", wide + "\n" + ",".join(["x" * 500] * 200) + "\n")
    assert refusal(world, read_table, path="wide.csv") == "limit"
    assert (
        world.call(read_table, path="wide.csv", columns=["column number 3"])["rows"][0]["column number 3"] == "x" * 500
    )


TRIPS = BASE["files/data/trips.parquet"]
BROKEN = {
    "empty.csv": (b"", "tool_error"),
    "blank.csv": (b"\n\n", "tool_error"),
    "ragged.csv": (b"a,b\n1,2\n1,2,3\n", "tool_error"),
    "short.csv": (b"a,b\n1\n", "tool_error"),
    "latin.csv": ("größe\n1\n".encode("latin-1"), "tool_error"),
    "utf16.csv": ("a,b\n1,2\n".encode("utf-16"), "tool_error"),
    "wide.csv": (",".join(f"c{n}" for n in range(100_000)).encode(), "limit"),
    "long.csv": (b"a\n" + b"1\n" * 100_001, "limit"),
    "quote.csv": (b'a,b\n"' + b"x" * 200_000, "tool_error"),
    "no.json": (b"{", "tool_error"),
    "number.json": (b"3", "tool_error"),
    "deep.json": (b"[" * 100_000, "tool_error"),
    "list.jsonl": (b"[1]\n", "tool_error"),
    "half.jsonl": (b'{"a": 1}\n{"a":', "tool_error"),
    "sparse.jsonl": (b"".join(b'{"k%d": 1}\n' % n for n in range(3000)), "limit"),
    "text.xlsx": (b"no workbook", "tool_error"),
    "half.xlsx": (BASE["files/data/sales.xlsx"][:3000], "tool_error"),
    "text.parquet": (b"PAR1", "tool_error"),
    "half.parquet": (TRIPS[:-100], "tool_error"),
    "torn.parquet": (TRIPS[:100] + b"\0" * 500 + TRIPS[600:], "tool_error"),
    "strange.txt": (b"a,b\n", "bad_arguments"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_and_oversized_files_are_refused(world, name):
    content, kind = BROKEN[name]
    world.write(name, content)
    assert refusal(world, read_table, path=name) == kind
    assert refusal(world, append_table_rows, path=name, rows=[{"a": 1}]) == kind
    assert (world.workspace.files / name).read_bytes() == content


def test_odd_but_whole_files_are_read(world):
    odd = {
        "bom.csv": (b"\xef\xbb\xbfa;b\r\n1;2\r\n", [{"a": 1, "b": 2}]),
        "names.csv": (b"a,a,,a\n1,2,3,4\n", [{"a": 1, "a_2": 2, "column_3": 3, "a_3": 4}]),
        "header.csv": (b"a,b\n", []),
        "nul.csv": (b"a\nx\0y\n", [{"a": "x\0y"}]),
        "nan.csv": (b"a,b\nNaN,1e999\ninf,2\n", [{"a": "NaN", "b": None}, {"a": "inf", "b": 2.0}]),
        "lone.jsonl": (b'{"a": "\\ud800", "b": [1, {"c": NaN}]}\n', [{"a": "\\ud800", "b": '[1, {"c": NaN}]'}]),
        "huge.jsonl": (b'{"a": 1' + b"0" * 400 + b"}\n", [{"a": None}]),
    }
    for name, (content, rows) in odd.items():
        world.write(name, content)
        assert world.call(read_table, path=name)["rows"] == rows, name


def test_times_and_nested_values_of_parquet_become_texts(world):
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    moment = datetime.datetime(2025, 3, 1, 12, 30)
    table = pa.table({
        "moment": pa.array([moment, None], pa.timestamp("ns", tz="UTC")),
        "day": [moment.date(), None],
        "price": [decimal.Decimal("1.5"), None],
        "list": [[1, 2], None],
        "raw": [b"abc", None],
        "number": [float("nan"), float("inf")],
    })  # fmt: skip
    pq.write_table(table, out)
    world.write("odd.parquet", out.getvalue())
    assert world.call(read_table, path="odd.parquet")["rows"][0] == {
        "moment": "2025-03-01T12:30:00", "day": "2025-03-01", "price": 1.5, "list": "[1, 2]", "raw": "<3 bytes>",
        "number": None,
    }  # fmt: skip


WHERE = [
    ([], [1, 2, 3, 4]),
    ([{"column": "score", "operator": ">", "value": 9}], [1, 3]),
    ([{"column": "score", "operator": "<=", "value": "10"}], [1, 4]),
    ([{"column": "score", "operator": "!=", "value": 10}], [3, 4]),
    ([{"column": "team", "operator": "=", "value": "a"}], [1, 3]),
    ([{"column": "id", "operator": "in", "value": [1, 4, 9]}], [1, 4]),
    ([{"column": "score", "operator": "not_in", "value": [10]}], [3, 4]),
    ([{"column": "day", "operator": "between", "value": ["2025-01-02", "2025-02-01"]}], [2, 3]),
    ([{"column": "score", "operator": "is_missing"}], [2]),
    ([{"column": "note", "operator": "is_present"}], [1, 3, 4]),
    ([{"column": "day", "operator": "starts_with", "value": "2025-02"}], [3, 4]),
    ([{"column": "note", "operator": "contains", "value": "X"}], [1, 3]),
    ([{"column": "day", "operator": "ends_with", "value": "01"}], [1, 3]),
    ([{"column": "day", "operator": "matches", "value": "-0[23]$"}], [2, 4]),
    ([{"any": [{"column": "id", "operator": "=", "value": 1}, {"column": "note", "operator": "is_missing"}]}], [1, 2]),
]  # fmt: skip


@pytest.mark.parametrize(("where", "ids"), WHERE)
def test_rows_are_kept_by_conditions(world, where, ids):
    assert [row["id"] for row in small(world, filter_table, where=where)["rows"]] == ids
    kept = small(world, delete_table_rows, where=where, output="rest.csv") if where else {"total": 0}
    assert kept["total"] == 4 - len(ids) if where else True


@pytest.mark.parametrize(
    "condition",
    [
        {"column": "scores", "operator": "=", "value": 1},
        {"column": "score", "operator": "=", "value": "ten"},
        {"column": "score", "operator": "="},
        {"column": "score", "operator": "between", "value": [1, 2, 3]},
        {"column": "id", "operator": ">", "value": True},
        {"column": "note", "operator": "matches", "value": "("},
    ],
)
def test_conditions_that_make_no_sense_are_refused(world, condition):
    assert refusal(world, filter_table, path="small.csv", where=[condition]) == "bad_arguments"


def ids(result):
    return [row["id"] for row in result["rows"]]


def test_rows_are_sorted_picked_and_drawn(world):
    keys = [{"column": "team", "descending": True}, {"column": "score"}]
    assert ids(small(world, sort_table, keys=keys)) == [4, 2, 1, 3]
    assert ids(small(world, top_rows, column="score", n=1, group_by="team")) == [3, 4]
    assert ids(small(world, top_rows, column="score", n=2, lowest=True)) == [4, 1]
    assert ids(small(world, drop_duplicate_rows, columns=["team"], keep="last")) == [3, 4]
    assert ids(small(world, drop_duplicate_rows, columns=["team"], keep="none")) == []
    drawn = small(world, sample_table, size=2, seed=3)
    assert drawn == small(world, sample_table, size=0.5, seed=3)
    assert refusal(world, sample_table, path="small.csv", size=5) == "bad_arguments"


def test_columns_are_selected_renamed_and_dropped(world):
    picked = small(world, select_columns, columns=["day", {"column": "id", "name": "number"}])
    assert picked["rows"][0] == {"day": "2025-01-01", "number": 1}
    assert list(small(world, drop_columns, columns=["note", "day"])["rows"][0]) == ["id", "team", "score"]
    assert refusal(world, drop_columns, path="small.csv", columns=["nots"]) == "bad_arguments"
    twice = ["id", {"column": "score", "name": "id"}]
    assert refusal(world, select_columns, path="small.csv", columns=twice) == "bad_arguments"


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("id * 2 + 1", [3, 5, 7, 9]),
        ("score / id", [10.0, None, 10.0, 1.375]),
        ("-score ** 2", [-100.0, None, -900.0, -30.25]),
        ("where(score > 8, 1, 0)", [1, None, 1, 0]),
        ("max(id, 3)", [3, 3, 3, 4]),
        ("min(id, 2, 3)", [1, 2, 2, 2]),
        ('round(col("score") / 3)', [3, None, 10, 2]),
        ("sqrt(id - 2)", [None, 0.0, 1.0, 1.4142135623731]),
        ("1 / (id - 1)", [None, 1.0, 0.5, 0.333333333333333]),
        ("10 ** 400 * id", [None, None, None, None]),
        ("id // 2 % 2", [0, 1, 1, 0]),
        ("7", [7, 7, 7, 7]),
    ],
)
def test_new_columns_are_worked_out(world, expression, values):
    rows = small(world, compute_column, name="new", expression=expression)["rows"]
    assert [None if row["new"] is None else pytest.approx(row["new"], rel=1e-12) for row in rows] == values


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "id.real", "team + 1", "idd", "id id", "lambda: 1", "[id]", "id < 1 < 2", "abs()", "f(id)",
     "'x'", "True", "1j", "col(id)", "id if id else 0", "(" * 300, "9 ** 9 ** 9 ** 9 if 1 else 2"],
)  # fmt: skip
def test_expressions_are_arithmetic_only(world, expression):
    assert refusal(world, compute_column, path="small.csv", name="new", expression=expression) == "bad_arguments"


def test_a_summary_and_missing_values(world):
    (score,) = small(world, summarize_table, columns=["score"])["columns"]
    assert (score["count"], score["min"], score["median"], score["max"]) == (3, 5.5, 10.0, 30.0)
    assert score["mean"] == pytest.approx(45.5 / 3)
    report = small(world, missing_report)
    assert (report["rows"], report["complete_rows"], report["missing"]) == (4, 3, 2)
    assert report["columns"][2] == {"column": "score", "missing": 1, "share": 0.25}


def test_groups_pivots_and_their_way_back(world):
    measures = [
        {"function": "count"}, {"function": "sum", "column": "score"}, {"function": "distinct", "column": "note"},
        {"function": "first", "column": "day", "name": "since"},
    ]  # fmt: skip
    assert small(world, group_table, group_by=["team"], measures=measures)["rows"] == [
        {"team": "a", "count": 2, "sum_score": 40.0, "distinct_note": 1, "since": "2025-01-01"},
        {"team": "b", "count": 2, "sum_score": 5.5, "distinct_note": 1, "since": "2025-01-02"},
    ]
    wide = {"path": "small.csv", "rows": "team", "columns": "note", "values": "id", "output": "wide.csv"}
    world.call(pivot_table, **wide, function="max")
    assert text(world, "wide.csv") == "team,,x,y\na,,3,\nb,2,,4\n"
    long = {"path": "wide.csv", "keep": ["team"], "columns": ["x", "y"], "value_column": "id"}
    assert world.call(unpivot_table, **long)["rows"] == [
        {"team": "a", "name": "x", "id": 3}, {"team": "a", "name": "y", "id": None},
        {"team": "b", "name": "x", "id": None}, {"team": "b", "name": "y", "id": 4},
    ]  # fmt: skip
    bad = [{"function": "mean", "column": "team"}]
    assert refusal(world, group_table, path="small.csv", group_by=["team"], measures=bad) == "bad_arguments"
    assert refusal(world, pivot_table, path="small.csv", rows="team", columns="team", values="id") == "bad_arguments"


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("inner", [(1, "Ann"), (3, "Ann")]),
        ("left", [(1, "Ann"), (2, None), (3, "Ann"), (4, None)]),
        ("right", [(1, "Ann"), (3, "Ann"), (None, "Cid")]),
        ("outer", [(1, "Ann"), (3, "Ann"), (2, None), (4, None), (None, "Cid")]),
        ("only_left", [(2, None), (4, None)]),
    ],
)
def test_tables_are_joined(world, how, expected):
    world.write("teams.csv", "key,lead,note\na,Ann,1\nc,Cid,2\n")
    on = [{"left": "team", "right": "key"}]
    joined = world.call(join_tables, path="small.csv", other="teams.csv", on=on, how=how)
    assert [(row["id"], row.get("lead")) for row in joined["rows"]] == expected
    if how != "only_left":
        assert "note_2" in joined["rows"][0]


def test_a_join_that_would_explode_is_refused_before_it_is_made(world):
    world.write("same.csv", "k\n" + "1\n" * 20_000)
    assert refusal(world, join_tables, path="same.csv", other="same.csv", on=["k"]) == "limit"


def test_tables_are_stacked_split_and_compared(world):
    world.write("more.csv", "id,extra\n5,true\n")
    stacked = world.call(concatenate_tables, paths=["small.csv", "more.csv"], source_column="file")
    assert stacked["total"] == 5
    assert stacked["rows"][4] == {
        "file": "more.csv", "id": 5, "team": None, "score": None, "day": None, "note": None, "extra": True,
    }  # fmt: skip
    parts = {"train_output": "a.csv", "test_output": "b.csv", "test_share": 0.5, "stratify_by": "team", "seed": 2}
    assert small(world, split_table, **parts)["test"]["rows"] == 2
    kept = [world.call(read_table, path=path)["rows"] for path in ("a.csv", "b.csv")]
    assert sorted(row["id"] for rows in kept for row in rows) == [1, 2, 3, 4]
    assert {row["team"] for row in kept[1]} == {"a", "b"}
    once = text(world, "b.csv")
    small(world, split_table, **parts)
    assert text(world, "b.csv") == once
    written = small(world, split_table_by_column, column="team", folder="by")["files"]
    assert [item["written"] for item in written] == ["by/a.csv", "by/b.csv"]
    world.write("new.csv", SMALL.replace("30", "31").replace("4,b,5.5,2025-02-03,y", "9,b,5.5,2025-02-03,y"))
    assert small(world, compare_table_files, other="new.csv", key=["id"]) == {
        "added": {"keys": [9], "total": 1},
        "removed": {"keys": [4], "total": 1},
        "changed": {"values": [{"key": 3, "column": "score", "old": 30.0, "new": 31.0}], "total": 1},
        "columns_added": [],
        "columns_removed": [],
    }
    assert refusal(world, compare_table_files, path="small.csv", other="new.csv", key=["team"]) == "bad_arguments"


def test_counts_quantiles_and_histograms(world):
    assert small(world, count_values, columns=["note"])["values"] == [
        {"note": "x", "count": 2}, {"note": "y", "count": 1}, {"note": None, "count": 1},
    ]  # fmt: skip
    assert small(world, column_quantiles, column="id", quantiles=[0, 0.5, 1])["quantiles"] == [
        {"share": 0, "value": 1.0}, {"share": 0.5, "value": 2.5}, {"share": 1, "value": 4.0},
    ]  # fmt: skip
    bins = small(world, histogram_column, column="id", bins=[1, 2, 3])
    assert [item["count"] for item in bins["bins"]] == [1, 2]
    assert bins["outside"] == 1
    assert refusal(world, histogram_column, path="small.csv", column="id", bins=[2, 1]) == "bad_arguments"
    assert refusal(world, histogram_column, path="small.csv", column="team") == "bad_arguments"
    band = small(world, bin_column, column="score", edges=[10, 20], labels=["low", "middle", "high"])
    assert [row["score_band"] for row in band["rows"]] == ["middle", None, "high", "low"]
    assert band["counts"] == {"low": 1, "middle": 1, "high": 1}


@pytest.mark.parametrize("method", ["pearson", "spearman", "kendall"])
def test_correlations_agree_with_scipy(world, method):
    from scipy import stats

    arguments = {"path": "data/survey.csv", "columns": ["age", "score_before"], "method": method}
    result = world.call(correlate_columns, **arguments)
    rows = world.call(read_table, path="data/survey.csv", limit=200)["rows"]
    expected = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}[method](
        [row["age"] for row in rows], [row["score_before"] for row in rows]
    )
    assert result["matrix"][0][1] == pytest.approx(float(expected[0]), abs=1e-9)
    assert result["matrix"][0][0] == 1.0


def test_outliers_series_and_changes(world):
    world.write(
        "v.csv",
        "t,g,v\n" + "".join(f"2025-01-{n + 1:02d},{'ab'[n % 2]},{n}\n" for n in range(20)) + "2025-01-21,a,500\n",
    )
    for method in ("iqr", "zscore", "mad"):
        found = world.call(find_outliers, path="v.csv", column="v", method=method)
        assert [row["v"] for row in found["rows"]] == [500], method
    weeks = {"path": "v.csv", "time_column": "t", "measures": [{"function": "sum", "column": "v"}]}
    assert world.call(resample_table, **weeks, frequency="week")["rows"] == [
        {"t": "2024-12-30", "sum_v": 10}, {"t": "2025-01-06", "sum_v": 56}, {"t": "2025-01-13", "sum_v": 105},
        {"t": "2025-01-20", "sum_v": 519},
    ]  # fmt: skip
    assert refusal(world, resample_table, **(weeks | {"time_column": "g"}), frequency="day") == "bad_arguments"
    rolled = world.call(roll_column, path="v.csv", column="v", window=2, order_by="t", group_by="g")["rows"]
    assert [row["v_mean_2"] for row in rolled[:4]] == [0.0, 1.0, 1.0, 2.0]
    for function, expected in {
        "difference": [None, None, 2.0, 2.0], "previous": [None, None, 0.0, 1.0], "rank": [11.0, 10.0, 10.0, 9.0],
        "cumulative_sum": [0.0, 1.0, 2.0, 4.0], "percent_change": [None, None, None, 2.0],
    }.items():  # fmt: skip
        rows = world.call(derive_column, path="v.csv", column="v", function=function, group_by="g", name="x")["rows"]
        assert [row["x"] for row in rows[:4]] == expected, function
    shares = world.call(derive_column, path="v.csv", column="v", function="share", output="s.csv")
    assert shares["total"] == 21


def test_rules_name_the_rows_that_break_them(world):
    rules = [
        {"column": "id", "rule": "unique"},
        {"column": "note", "rule": "present"},
        {"column": "score", "rule": "range", "min": 6},
        {"column": "day", "rule": "range", "max": "2025-01-31"},
        {"column": "team", "rule": "one_of", "values": ["a"]},
        {"column": "day", "rule": "pattern", "pattern": r"\d{4}-01-\d\d"},
    ]
    result = small(world, validate_table, rules=rules)
    assert not result["valid"]
    assert [rule["broken"] for rule in result["rules"]] == [0, 1, 1, 2, 2, 2]
    assert result["rules"][2]["examples"] == [{"row": 4, "value": 5.5}]
    for bad in ({"column": "id", "rule": "range"}, {"column": "id", "rule": "pattern", "pattern": "("}):
        assert refusal(world, validate_table, path="small.csv", rules=[bad]) == "bad_arguments"


def test_rows_are_added_changed_and_removed_in_place(world):
    small(world, append_table_rows, rows=[{"id": 5, "score": 1}, {"id": 6, "team": "c", "note": "a,b"}])
    assert text(world, "small.csv").endswith('4,b,5.5,2025-02-03,y\n5,,1.0,,\n6,c,,,"a,b"\n')
    where = [{"column": "team", "operator": "is_missing"}]
    assert small(world, update_table_rows, where=where, values={"team": "z", "score": None})["changed"] == 1
    assert "5,z,,,\n" in text(world, "small.csv")
    done = small(world, delete_table_rows, where=[{"column": "id", "operator": ">", "value": 1}])
    assert (done["removed"], text(world, "small.csv")) == (5, "id,team,score,day,note\n1,a,10.0,2025-01-01,x\n")
    before = text(world, "small.csv")
    for tool, arguments in (
        (append_table_rows, {"rows": [{"score": "many"}]}),
        (append_table_rows, {"rows": [{"idd": 1}]}),
        (update_table_rows, {"where": [], "values": {"id": "x"}}),
    ):
        assert refusal(world, tool, path="small.csv", **arguments) == "bad_arguments"
    assert text(world, "small.csv") == before


def test_a_change_of_one_sheet_leaves_the_others(world):
    arguments = {"path": "data/budget.xlsx", "sheet": "actual", "rows": [{"department": "Legal", "q1": 5}]}
    world.call(append_table_rows, **arguments)
    sheets = {sheet: world.call(read_table, path="data/budget.xlsx", sheet=sheet) for sheet in ("plan", "actual")}
    assert (sheets["plan"]["total"], sheets["actual"]["total"]) == (3, 4)
    assert sheets["actual"]["rows"][3] == {"department": "Legal", "q1": 5, "q2": None, "q3": None, "q4": None}


@pytest.mark.parametrize(
    ("fill", "columns", "scores"),
    [
        ({"method": "mean"}, None, [10.0, 15.1666666667, 30.0, 5.5]),
        ({"method": "median"}, ["score"], [10.0, 10.0, 30.0, 5.5]),
        ({"method": "previous"}, None, [10.0, 10.0, 30.0, 5.5]),
        ({"method": "next"}, ["score"], [10.0, 30.0, 30.0, 5.5]),
        ({"method": "interpolate"}, None, [10.0, 20.0, 30.0, 5.5]),
        ({"value": 0}, ["score"], [10.0, 0.0, 30.0, 5.5]),
    ],
)
def test_gaps_are_filled(world, fill, columns, scores):
    more = {"columns": columns} if columns else {}
    assert small(world, fill_missing, fill=fill, **more)["filled"] >= 1
    assert [row["score"] for row in world.call(read_table, path="small.csv")["rows"]] == scores


def test_gaps_are_not_filled_with_nonsense(world):
    small(world, fill_missing, fill={"method": "most_frequent"}, columns=["note"])
    assert world.call(read_table, path="small.csv")["rows"][1]["note"] == "x"
    for arguments in (
        {"fill": {"value": "x"}, "columns": ["score"]},
        {"fill": {"method": "mean"}, "columns": ["team"]},
    ):
        assert refusal(world, fill_missing, path="small.csv", **arguments) == "bad_arguments"


def test_values_are_replaced_cast_and_cleaned(world):
    small(
        world,
        replace_values,
        column="team",
        replacements=[{"old": "a", "new": " First  team "}, {"old": "b", "new": None}],
    )
    rows = world.call(read_table, path="small.csv")["rows"]
    assert [row["team"] for row in rows] == ["First  team", None, "First  team", None] or rows[0][
        "team"
    ] == " First  team "
    small(world, clean_text_columns, operations=["strip", "collapse_spaces", "upper"], columns=["team"])
    assert world.call(read_table, path="small.csv")["rows"][0]["team"] == "FIRST TEAM"
    assert refusal(world, clean_text_columns, path="small.csv", operations=["strip"], columns=["id"]) == "bad_arguments"
    world.write("c.csv", "a,b\nyes,1.0\nno,2.5\n,x\n")
    assert refusal(world, cast_columns, path="c.csv", types={"b": "number"}) == "tool_error"
    done = world.call(cast_columns, path="c.csv", types={"a": "boolean", "b": "integer"}, invalid="empty")
    assert (done["emptied"], text(world, "c.csv")) == (2, "a,b\ntrue,1\nfalse,\n,\n")


def test_nothing_is_written_outside_or_where_it_cannot_be(world):
    for output, kind in (
        ("../x.csv", "denied"),
        ("/etc/x.csv", "denied"),
        ("x.txt", "bad_arguments"),
        ("data", "bad_arguments"),
    ):
        assert refusal(world, convert_table, path="small.csv", format="csv", output=output) in (kind, "bad_arguments")
        assert refusal(world, sort_table, path="small.csv", keys=[{"column": "id"}], output=output) == kind
    (world.workspace.files / "link.csv").symlink_to("/etc/passwd")
    assert refusal(world, read_table, path="link.csv") == "denied"


def test_random_calls_end_in_a_result_or_a_typed_error(world):
    assert random_calls(world, TOOLS, seed=3, rounds=12) > 60
