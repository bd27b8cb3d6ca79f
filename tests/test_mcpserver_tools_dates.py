import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from number_fuzz import check_extreme_numbers
from tool_calls import World
from tool_checks import check_example, check_random_calls, examples_of, refused, tools_of

from mcpserver.tool_error import ToolError
from mcpserver.tools.dates import _moments, _reading, dates, times
from toolwright.errors import DataError

MODULES = (dates, times)
DAYS = st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 12, 31))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("env"))


@pytest.mark.parametrize(("tool", "example"), examples_of(*MODULES))
def test_examples_work_and_are_repeatable(tool, example, tmp_path):
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("tool", tools_of(*MODULES), ids=lambda tool: tool.spec.name)
def test_random_calls_fail_in_the_typed_way_only(tool, tmp_path):
    check_random_calls(tool, tmp_path)


@pytest.mark.parametrize("tool", tools_of(*MODULES), ids=lambda tool: tool.spec.name)
def test_extreme_numbers_give_results_or_typed_errors(tool, world):
    check_extreme_numbers(tool, world)


@pytest.mark.parametrize(
    ("year", "day"),
    [(1961, "04-02"), (2000, "04-23"), (2008, "03-23"), (2011, "04-24"), (2025, "04-20"), (2038, "04-25")],
)
def test_easter_falls_where_it_fell(year, day):
    assert _moments.easter(year).isoformat() == f"{year}-{day}"


@pytest.mark.parametrize(
    ("day", "by", "moved"),
    [
        ("2024-01-31", {"months": 1}, "2024-02-29"),
        ("2024-02-29", {"years": 1}, "2025-02-28"),
        ("2025-01-31", {"months": 1, "days": 1}, "2025-03-01"),
        ("2025-03-17", {"weeks": -2}, "2025-03-03"),
        ("2025-03-17", {}, "2025-03-17"),
        ("2025-01-15", {"months": -1}, "2024-12-15"),
    ],
)
def test_days_are_moved(world, day, by, moved):
    assert world.call(dates.shift_date, day=day, by=by)["day"] == moved


@given(DAYS, DAYS)
@settings(max_examples=300, deadline=None)
def test_a_difference_leads_from_one_day_to_the_other(first, last):
    first, last = sorted((first, last))
    months = _moments.months_between(first, last)
    reached = _moments.add_months(first, months, "x")
    assert reached <= last
    assert (last - reached).days <= 31


def test_differences(world):
    found = world.call(dates.date_difference, start="2025-03-17", end="2023-12-25")
    assert found == {"total_days": -448, "years": 1, "months": 2, "days": 20, "backwards": True}
    assert world.call(dates.date_difference, start="2024-02-29", end="2025-02-28", unit="years")["years"] == 1
    assert world.call(dates.date_difference, start="2025-01-31", end="2025-02-27", unit="months")["months"] == 0


def test_days_are_described(world):
    found = world.call(dates.describe_day, day="2024-12-30")
    assert (found["weekday"], found["iso_week"], found["quarter"]) == ("monday", "2025-W01", 4)
    assert (found["day_of_year"], found["days_left_in_year"], found["leap_year"]) == (365, 1, True)
    assert world.call(dates.describe_day, day="2025-12-25", country="US")["holiday"] == "Christmas Day"


@pytest.mark.parametrize(
    ("country", "year", "days"),
    [
        ("DE", 2025, "01-01 04-18 04-21 05-01 05-29 06-09 10-03 12-25 12-26"),
        ("FR", 2024, "01-01 04-01 05-01 05-08 05-09 05-20 07-14 08-15 11-01 11-11 12-25"),
        ("GB", 2021, "01-01 04-02 04-05 05-03 05-31 08-30 12-27 12-28"),
        ("GB", 2026, "01-01 04-03 04-06 05-04 05-25 08-31 12-25 12-28"),
        ("US", 2021, "01-01 01-18 02-15 05-31 06-18 07-05 09-06 10-11 11-11 11-25 12-24 12-31"),
        ("NL", 2025, "01-01 04-20 04-21 04-26 05-29 06-08 06-09 12-25 12-26"),
        ("SE", 2025, "01-01 01-06 04-18 04-20 04-21 05-01 05-29 06-06 06-08 06-21 11-01 12-25 12-26"),
        ("NO", 2025, "01-01 04-17 04-18 04-20 04-21 05-01 05-17 05-29 06-08 06-09 12-25 12-26"),
    ],
)
def test_public_holidays_are_those_of_the_almanac(world, country, year, days):
    found = world.call(dates.list_public_holidays, country=country, year=year)["holidays"]
    assert [row["day"] for row in found] == [f"{year}-{day}" for day in days.split()]


def test_working_days(world):
    germany = {"country": "DE"}
    assert world.call(dates.add_business_days, day="2025-04-17", count=1, free=germany)["day"] == "2025-04-22"
    assert world.call(dates.add_business_days, day="2025-04-22", count=-1, free=germany)["day"] == "2025-04-17"
    assert world.call(dates.add_business_days, day="2025-03-15", count=0)["day"] == "2025-03-17"
    dubai = {"weekend": ["friday", "saturday"], "holidays": ["2025-03-16"]}
    assert world.call(dates.add_business_days, day="2025-03-13", count=1, free=dubai)["day"] == "2025-03-17"
    found = world.call(dates.count_business_days, start="2025-12-22", end="2026-01-02", free=germany)
    assert found == {"working_days": 7, "weekend_days": 2, "holidays": 3, "days": 12}
    with refused("bad_arguments", "lies before"):
        world.call(dates.count_business_days, start="2025-12-22", end="2025-12-01")
    with refused("limit", "leads out"):
        world.call(dates.add_business_days, day="2200-12-20", count=100)


@pytest.mark.parametrize(
    ("rule", "start", "expected"),
    [
        ({"every": "day", "interval": 10}, "2025-03-17", ["2025-03-17", "2025-03-27", "2025-04-06"]),
        ({"every": "week", "weekdays": ["sunday", "monday"]}, "2025-03-18", ["2025-03-23", "2025-03-24", "2025-03-30"]),
        (
            {"every": "week", "weekdays": ["friday"], "interval": 2},
            "2025-03-22",
            ["2025-04-04", "2025-04-18", "2025-05-02"],
        ),
        ({"every": "month", "day": 31}, "2025-03-17", ["2025-03-31", "2025-05-31", "2025-07-31"]),
        ({"every": "month", "day": -1, "interval": 3}, "2025-01-01", ["2025-01-31", "2025-04-30", "2025-07-31"]),
        (
            {"every": "month_weekday", "weekday": "monday", "number": "fifth"},
            "2025-01-01",
            ["2025-03-31", "2025-06-30", "2025-09-29"],
        ),
        ({"every": "year", "month": 2, "day": 29}, "2025-01-01", ["2028-02-29", "2032-02-29", "2036-02-29"]),
        ({"every": "easter", "days": 60}, "2025-01-01", ["2025-06-19", "2026-06-04", "2027-05-27"]),
    ],
)
def test_rules_recur(world, rule, start, expected):
    found = world.call(dates.next_occurrences, rule=rule, start=start, count=3)
    assert [row["day"] for row in found["occurrences"]] == expected


def test_rules_end_and_leave_out(world):
    rule = {"every": "year", "month": 2, "day": 31}
    assert world.call(dates.next_occurrences, rule=rule, start="2025-01-01") == {"occurrences": [], "complete": True}
    rule = {"every": "day"}
    found = world.call(dates.next_occurrences, rule=rule, start="2025-03-01", until="2025-03-04", skip=["2025-03-02"])
    assert [row["day"][-2:] for row in found["occurrences"]] == ["01", "03", "04"]
    with refused("bad_arguments", "rule.day"):
        world.call(dates.next_occurrences, rule={"every": "month", "day": 0}, start="2025-03-01")


def test_ages_and_birthdays(world):
    found = world.call(dates.compute_age, born="2000-03-17")
    assert (found["years"], found["months"], found["days_to_birthday"]) == (25, 0, 0)
    found = world.call(dates.compute_age, born="2000-03-18")
    assert (found["years"], found["months"], found["days"], found["days_to_birthday"]) == (24, 11, 27, 1)
    with refused("bad_arguments", "lies after"):
        world.call(dates.compute_age, born="2026-01-01")


def test_months_are_shown(world):
    text = world.call(dates.show_month, year=2025, month=2)["text"].split("\n")
    assert text[1] == "W05" + " " * 16 + " 1  2"
    assert text[-1] == "W09 24 25 26 27 28"
    sunday = world.call(dates.show_month, year=2025, month=6, country="DE", first="sunday")
    assert sunday["text"].split("\n")[:2] == ["    Su Mo Tu We Th Fr Sa", "W23  1  2  3  4  5  6  7"]
    assert sunday["holidays"] == [{"day": "2025-06-09", "name": "Whit Monday"}]


def test_time_zones(world):
    def call(moment, zone, *zones):
        return world.call(times.convert_time_zone, moment=moment, from_zone=zone, to_zones=list(zones))

    found = call("2025-07-01T20:00", "Europe/London", "Asia/Kolkata", "America/St_Johns")
    assert [row["time"] for row in found["times"]] == ["2025-07-02T00:30:00", "2025-07-01T16:30:00"]
    assert [row["offset"] for row in found["times"]] == ["+05:30", "-02:30"]
    assert [row["day_shift"] for row in found["times"]] == [1, 0]
    with refused("bad_arguments", "does not exist"):
        call("2025-03-30T02:30", "Europe/Berlin", "UTC")
    assert "twice" in call("2025-10-26T02:30", "Europe/Berlin", "UTC")["note"]
    for zone in ("Berlin", "../../etc/passwd", "Europe", "\x00", "/etc/localtime"):
        with pytest.raises((ToolError, DataError), match="time zone"):
            call("2025-03-17T10:00", zone, "UTC")
    with pytest.raises((ToolError, DataError), match="did you mean Europe/Berlin"):
        call("2025-03-17T10:00", "berlin", "UTC")


def test_people_on_three_continents_meet(world):
    people = [
        {"name": "Ana", "zone": "Europe/Berlin", "hours": {"start": "08:00", "end": "20:00"}},
        {"name": "Bob", "zone": "America/Los_Angeles", "hours": {"start": "06:00", "end": "18:00"}},
        {"name": "Cho", "zone": "Asia/Tokyo", "hours": {"start": "20:00", "end": "01:00"}},
    ]
    found = world.call(times.find_meeting_hours, day="2025-01-15", people=people)["windows"]
    assert found == [
        {
            "earliest_start": "14:00",
            "latest_start": "15:00",
            "end": "16:00",
            "first_start_local": {"Ana": "Wed 15:00", "Bob": "Wed 06:00", "Cho": "Wed 23:00"},
        }
    ]


@pytest.mark.parametrize(
    ("text", "day", "time"),
    [
        ("2025-03-17", "2025-03-17", None),
        ("2025-03-17T14:30:05", "2025-03-17", "14:30:05"),
        ("20250317", "2025-03-17", None),
        ("17.3.2025", "2025-03-17", None),
        ("3/4/25", "2025-04-03", None),
        ("12/25/2024", "2024-12-25", None),
        ("25/12/1999", "1999-12-25", None),
        ("17-Mar-2025 2 pm", "2025-03-17", "14:00:00"),
        ("March 5th, 2026 at 12:15 am", "2026-03-05", "00:15:00"),
        ("5. März 2026", "2026-03-05", None),
        ("the 1st of december", "2025-12-01", None),
        ("Sept 9 2025", "2025-09-09", None),
        ("2025-W12-3", "2025-03-19", None),
        ("tomorrow 9:00", "2025-03-18", "09:00:00"),
        ("gestern", "2025-03-16", None),
        ("in 3 days", "2025-03-20", None),
        ("a month ago", "2025-02-17", None),
        ("next friday", "2025-03-21", None),
        ("last friday", "2025-03-14", None),
        ("monday", "2025-03-24", None),
    ],
)
def test_dates_are_read_as_people_write_them(world, text, day, time):
    found = world.call(times.parse_date, text=text)
    assert (found["day"], found.get("time")) == (day, time)


def test_order_matters_where_it_is_unclear(world):
    assert world.call(times.parse_date, text="3/4/2025", order="month_first")["day"] == "2025-03-04"
    assert world.call(times.parse_date, text="3.4.2025", order="month_first")["day"] == "2025-04-03"
    for text in ("soon", "31.2.2025", "25:00 2025-01-01", "2025-13-01", "13/13/2025", "in 9999 years"):
        with pytest.raises(ToolError):
            world.call(times.parse_date, text=text)


@given(st.text(max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_date_or_a_typed_error(text):
    try:
        _reading.read_moment(text, datetime.date(2025, 3, 17), "day_first")
    except ToolError as error:
        assert error.kind in ("bad_arguments", "limit")  # noqa: PT017 - nothing else may be raised


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("iso", "2025-03-07T14:05:00"),
        ("us", "03/07/2025"),
        ("european", "07/03/2025"),
        ("german", "07.03.2025"),
        ("long", "7 March 2025"),
        ("with_weekday", "Friday, March 7th, 2025"),
        ("rfc2822", "Fri, 07 Mar 2025 14:05:00 +0000"),
        ("iso_week", "2025-W10-5"),
        ("day_of_year", "2025-066"),
        ({"pattern": "[Week] WW, YYYY-MM-DD hh:mm A"}, "Week 10, 2025-03-07 02:05 PM"),
        ({"pattern": "D.M.YY H:mm:ss, ddd, Do MMM, [Q]Q, DDDD"}, "7.3.25 14:05:00, Fri, 7th Mar, Q1, 066"),
    ],
)
def test_dates_are_written(world, style, text):
    assert world.call(times.format_date, moment="2025-03-07T14:05", style=style)["text"] == text


def test_timestamps(world):
    assert world.call(times.convert_timestamp, value=0)["moment"] == "1970-01-01T00:00:00+00:00"
    assert world.call(times.convert_timestamp, value=1e12, unit="milliseconds")["moment"] == "2001-09-09T01:46:40+00:00"
    there = world.call(times.convert_timestamp, value="2025-07-01T12:00", zone="America/New_York")["timestamp"]
    assert (
        world.call(times.convert_timestamp, value=there, zone="America/New_York")["moment"]
        == "2025-07-01T12:00:00-04:00"
    )
    assert world.call(times.convert_timestamp, value="2025-03-17T10:00:00+01:00")["timestamp"] == 1742202000


@pytest.mark.parametrize(
    ("duration", "to", "result"),
    [
        ("P1DT2H3M4.5S", "seconds", 93784.5),
        ("-PT90M", "hours", -1.5),
        ("1:30:00", "minutes", 90),
        ({"days": 2, "hours": -6}, "iso", "P1DT18H"),
        (0, "iso", "PT0S"),
        (3661, "clock", "1:01:01"),
        (-59.5, "clock", "-0:00:59.5"),
        (90061, "words", "1 day 1 hour 1 minute 1 second"),
        ("P2W", "days", 14),
    ],
)
def test_durations(world, duration, to, result):
    assert world.call(times.convert_duration, duration=duration, to=to)["result"] == result


def test_what_is_no_duration(world):
    for text in ("P1Y", "P", "PT", "1:60", "abc", "P1M"):
        with refused("bad_arguments", "no duration"):
            world.call(times.convert_duration, duration=text, to="seconds")


def _at(*clocks):
    return [{"start": f"2025-03-17T{a}", "end": f"2025-03-17T{b}"} for a, b in zip(clocks[::2], clocks[1::2])]


def test_periods_are_combined(world):
    def call(operation, first, second=None):
        given = {"second": second} if second else {}
        found = world.call(times.combine_intervals, first=first, operation=operation, **given)["periods"]
        return [clock for row in found for clock in (row["start"][-5:], row["end"][-5:])]

    first, second = _at("09:00", "10:00", "10:00", "12:00", "14:00", "15:00"), _at("11:00", "14:30")
    assert call("merge", first) == ["09:00", "12:00", "14:00", "15:00"]
    assert call("merge", first, second) == ["09:00", "15:00"]
    assert call("intersection", first, second) == ["11:00", "12:00", "14:00", "14:30"]
    assert call("difference", first, second) == ["09:00", "11:00", "14:30", "15:00"]
    with refused("bad_arguments", "first[0].end: must be after start"):
        call("merge", _at("10:00", "10:00"))
    with refused("bad_arguments", "needs other periods"):
        call("difference", first)


def test_free_periods_between_appointments(world):
    given = {"first_day": "2025-03-14", "last_day": "2025-03-17", "hours": {"start": "09:00", "end": "12:00"}}
    found = world.call(times.find_free_gaps, busy=_at("08:00", "09:30", "10:00", "11:45"), minutes=20, **given)
    assert [(row["start"][8:], row["end"][8:]) for row in found["free"]] == [
        ("14T09:00", "14T12:00"),
        ("17T09:30", "17T10:00"),
    ]
    assert found["minutes"] == 210
    with refused("bad_arguments", "hours.end"):
        world.call(times.find_free_gaps, busy=[], **{**given, "hours": {"start": "09:00", "end": "25:00"}})
