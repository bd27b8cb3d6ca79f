"""Simulated weather of twelve cities: now, forecast, past, warnings, comparison, and watches that stay."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tools.services._kinds import TODAY, Day, Id, Limit
from mcpserver.tools.services._places import CityName
from mcpserver.tools.services._records import Record, check, days_from, find, keep_room, new_id, only, page, refuse_if
from mcpserver.tools.services._weather import (
    SEVERITIES,
    Condition,
    Measure,
    Severity,
    alerts_of,
    hourly_of,
    make_watches,
    meets,
    weather_of,
)

RUNS_IN = "server"
MAX_WATCHES, FORECAST_DAYS, MAX_PAST_DAYS = 30, 10, 31
_SERVICE = "weather"

Cities = Annotated[list[CityName], Len(1, 12)]


def get_current_weather(
    context: Context, city: CityName, units: Literal["metric", "imperial"] = "metric"
) -> dict[str, Any]:
    """Get the weather in a city now.

    Args:
        city: where
        units: metric, or Fahrenheit and mph

    Example:
        {"city": "Oslo"}
        {"city": "London", "units": "imperial"}
    """
    now, day = hourly_of(context, city, TODAY)[3], weather_of(context, city, TODAY)
    temperature, wind = now["temperature"], now["wind_kmh"]
    if units == "imperial":
        temperature, wind = round(temperature * 9 / 5 + 32, 1), round(wind / 1.609344, 1)
    names = ("temperature_c", "wind_kmh") if units == "metric" else ("temperature_f", "wind_mph")
    readings = dict(zip(names, (temperature, wind)))
    return {"city": city, "time": f"{TODAY} 09:00", "sky": day["sky"], **readings, "humidity": day["humidity"]}


def get_weather_forecast(
    context: Context,
    city: CityName,
    days: Annotated[int, Ge(1), Le(FORECAST_DAYS)] = 5,
    detail: Literal["daily", "hourly"] = "daily",
) -> dict[str, Any]:
    """Get the weather forecast of a city, from today on.

    Args:
        city: where
        days: how many days
        detail: hourly adds steps of three hours

    Example:
        {"city": "Rotterdam", "days": 3}
        {"city": "Milan", "days": 1, "detail": "hourly"}
    """
    rows = []
    for shift in range(days):
        row = weather_of(context, city, days_from(TODAY, shift))
        rows.append(row | ({"hours": hourly_of(context, city, row["day"])} if detail == "hourly" else {}))
    return {"city": city, "forecast": rows}


def get_weather_history(context: Context, city: CityName, first_day: Day, last_day: Day) -> dict[str, Any]:
    """Get the past weather of a city, with means.

    Args:
        city: where
        first_day: YYYY-MM-DD
        last_day: YYYY-MM-DD, before today

    Example:
        {"city": "Berlin", "first_day": "2025-03-01", "last_day": "2025-03-07"}
    """
    check(first_day <= last_day < TODAY, f"last_day: wanted first_day <= last_day < {TODAY}")
    check(last_day < days_from(first_day, MAX_PAST_DAYS), f"last_day: at most {MAX_PAST_DAYS} days at once")
    rows = [weather_of(context, city, first_day)]
    while rows[-1]["day"] < last_day:
        rows.append(weather_of(context, city, days_from(rows[-1]["day"], 1)))
    mean = sum(row["temperature_max"] + row["temperature_min"] for row in rows) / 2 / len(rows)
    total = round(sum(row["rain_mm"] for row in rows), 1)
    return {"city": city, "mean_temperature": round(mean, 1), "rain_total_mm": total, "days": rows}


def get_weather_alerts(
    context: Context,
    cities: Cities,
    min_severity: Severity = "yellow",
    days: Annotated[int, Ge(1), Le(FORECAST_DAYS)] = 5,
) -> dict[str, Any]:
    """Get weather warnings for cities.

    Args:
        cities: where
        min_severity: leave out lesser ones
        days: how many days from today

    Example:
        {"cities": ["Rotterdam", "Hamburg", "Oslo"]}
        {"cities": ["London"], "min_severity": "orange", "days": 10}
    """
    alerts = [
        alert
        for city in sorted(set(cities))
        for shift in range(days)
        for alert in alerts_of(context, city, days_from(TODAY, shift))
        if SEVERITIES.index(alert["severity"]) >= SEVERITIES.index(min_severity)
    ]
    return page(sorted(alerts, key=lambda alert: (alert["day"], alert["city"], alert["kind"])), 50, 0, "alerts")


def compare_weather(
    context: Context, cities: Annotated[list[CityName], Len(2, 12)], day: Day, measure: Measure = "temperature_max"
) -> dict[str, Any]:
    """Compare a measure of cities on a day, highest first.

    Args:
        cities: at least two
        day: YYYY-MM-DD
        measure: what to compare

    Example:
        {"cities": ["Lisbon", "Madrid", "Oslo"], "day": "2025-03-20"}
        {"cities": ["London", "Paris"], "day": "2025-03-18", "measure": "rain_mm"}
    """
    last = days_from(TODAY, FORECAST_DAYS - 1)
    check(day <= last, f"day: the forecast ends on {last}")
    rows = [{"city": city, measure: weather_of(context, city, day)[measure]} for city in sorted(set(cities))]
    rows.sort(key=lambda row: -float(row[measure]))
    return {"day": day, "ranking": rows, "difference": round(rows[0][measure] - rows[-1][measure], 1)}


def watch_weather(context: Context, city: CityName, when: Condition) -> dict[str, Any]:
    """Watch the forecast of a city for a condition.

    Args:
        city: where
        when: condition on one measure

    Example:
        {"city": "Hamburg", "when": {"measure": "wind_kmh", "direction": "above", "value": 40}}
    """
    state = context.change(_SERVICE, make_watches)
    keep_room(state["watches"], MAX_WATCHES, "weather watches")
    known = any(watch["city"] == city and watch["when"] == when for watch in state["watches"].values())
    refuse_if(known, f"when: this is watched for {city} already")
    number = new_id(state, "W")
    state["watches"][number] = {"id": number, "city": city, "when": dict(when)}
    return _with_days(state["watches"][number], _forecast(context, city))


def list_weather_watches(context: Context, limit: Limit = 20) -> dict[str, Any]:
    """List weather watches and the days that meet them.

    Args:
        limit: most watches to list

    Example:
        {}
    """
    watches = context.read(_SERVICE, make_watches)["watches"].values()
    forecasts = {city: _forecast(context, city) for city in sorted({watch["city"] for watch in watches})}
    return page([_with_days(watch, forecasts[watch["city"]]) for watch in watches], limit, 0, "watches")


def stop_weather_watch(context: Context, watch: Id) -> dict[str, Any]:
    """Stop a weather watch.

    Args:
        watch: id of the watch

    Example:
        {"watch": "W-1"}
    """
    watches = context.change(_SERVICE, make_watches)["watches"]
    find(watches, watch, "watch", "list_weather_watches")
    return {"stopped": watches.pop(watch)}


def _forecast(context: Context, city: str) -> list[Record]:
    return [weather_of(context, city, days_from(TODAY, shift)) for shift in range(FORECAST_DAYS)]


def _with_days(watch: Record, forecast: list[Record]) -> Record:
    hits = [only(row, "day", watch["when"]["measure"]) for row in forecast if meets(row, watch["when"])]
    return {**watch, "next_days": hits}
