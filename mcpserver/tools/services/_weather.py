"""The simulated weather: a climate for each city, and noise that depends only on seed, city and day."""

import datetime
import math
from random import Random
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tools.services._places import CITIES
from mcpserver.tools.services._records import Record, days_from

Measure = Literal["temperature_max", "temperature_min", "rain_mm", "wind_kmh", "humidity"]
Severity = Literal["yellow", "orange", "red"]
SEVERITIES: tuple[Severity, ...] = ("yellow", "orange", "red")
_WARNINGS: tuple[tuple[str, Measure, int, tuple[float, float, float]], ...] = (
    ("storm", "wind_kmh", 1, (55.0, 68.0, 80.0)),
    ("heavy rain", "rain_mm", 1, (14.0, 20.0, 26.0)),
    ("heat", "temperature_max", 1, (31.0, 34.0, 37.0)),
    ("frost", "temperature_min", -1, (-4.0, -8.0, -12.0)),
)


class Condition(TypedDict):
    """What to be told about."""

    measure: Measure
    direction: Literal["above", "below"]
    value: Annotated[float, Ge(-60), Le(300)]


def weather_of(context: Context, city: str, day: str) -> Record:
    """The weather of a city on a day: degrees Celsius, mm of rain, km/h of wind, % of humidity."""
    about = CITIES[city]
    rng = context.random("weather", city, day)
    # air moves slowly: days near each other share most of their noise
    mood = sum(context.random("mood", city, days_from(day, shift)).gauss(0, 1) for shift in (-1, 0, 1)) / math.sqrt(3)
    season = math.cos(2 * math.pi * (datetime.date.fromisoformat(day).timetuple().tm_yday - 200) / 365.25)
    mean = about.mean + about.swing * season + 3.0 * mood
    spread = rng.uniform(2.5, 5.5)
    rain = max(0.0, rng.gauss(-1.5, 4.5) - 1.5 * mood)
    wind = max(3.0, rng.gauss(19, 11) - 4.0 * mood)
    sky = "rain" if rain > 1 else "drizzle" if rain > 0 else rng.choice(("clear", "partly cloudy", "cloudy"))
    return {
        **{"day": day, "sky": "snow" if rain > 0 and mean < 0 else sky},
        **{"temperature_max": round(mean + spread, 1), "temperature_min": round(mean - spread, 1)},
        **{
            "rain_mm": round(rain, 1),
            "wind_kmh": round(wind, 1),
            "humidity": rng.randint(45, 70) + (25 if rain else 0),
        },
    }


def hourly_of(context: Context, city: str, day: str) -> list[Record]:
    """The weather of a day in steps of three hours."""
    weather = weather_of(context, city, day)
    high, low = weather["temperature_max"], weather["temperature_min"]
    rows = []
    for hour in range(0, 24, 3):
        warmth = (1 + math.cos(2 * math.pi * (hour - 15) / 24)) / 2
        gust = context.random("gust", city, day, hour).uniform(0.7, 1.0)
        row = {"time": f"{hour:02}:00", "temperature": round(low + (high - low) * warmth, 1)}
        rows.append(
            row | {"wind_kmh": round(weather["wind_kmh"] * gust, 1), "rain_mm": round(weather["rain_mm"] / 8, 2)}
        )
    return rows


def alerts_of(context: Context, city: str, day: str) -> list[Record]:
    """The warnings for a day."""
    weather, alerts = weather_of(context, city, day), []
    for kind, measure, sign, steps in _WARNINGS:
        level = sum(sign * weather[measure] >= sign * step for step in steps)
        if level:
            alert = {"city": city, "day": day, "kind": kind, "severity": SEVERITIES[level - 1]}
            alerts.append(alert | {measure: weather[measure]})
    return alerts


def meets(weather: Record, condition: dict[str, Any] | Condition) -> bool:
    """Whether a day's weather meets a condition."""
    value, limit = weather[condition["measure"]], condition["value"]
    return bool(value > limit if condition["direction"] == "above" else value < limit)


def make_watches(rng: Random) -> dict[str, Any]:
    """One watch, W-1."""
    when = {"measure": "wind_kmh", "direction": "above", "value": float(rng.randint(30, 45))}
    return {"watches": {"W-1": {"id": "W-1", "city": "Rotterdam", "when": when}}, "next": {"W": 2}}
