"""The simulated gas market: numbers that depend only on the world's seed and the question asked.

Pure functions; prices in EUR/MWh, energy in MWh. Levels are plausible for Europe in the 2020s, and not real data.
"""

import datetime
import hashlib
import math
from typing import Literal

Hub = Literal["TTF", "NBP", "THE", "PEG", "PSV"]
Factory = Literal["Rotterdam", "Antwerp", "Ludwigshafen", "Lyon", "Milan"]
Source = Literal["norway", "algeria", "lng", "azerbaijan", "biogas"]
Unit = Literal["MWh", "kWh", "GJ", "therm"]
Pipeline = Literal["Europipe", "Franpipe", "Langeled", "Transmed", "Zeepipe"]
Site = Literal["Rehden", "Bergermeer", "Haidach", "Etzel", "Rough"]

HUB_LEVELS: dict[str, float] = {"TTF": 31.0, "NBP": 30.2, "THE": 32.1, "PEG": 31.6, "PSV": 34.0}
FACTORY_PREMIUMS: dict[str, float] = {
    "Rotterdam": 1.8,
    "Antwerp": 2.1,
    "Ludwigshafen": 3.0,
    "Lyon": 3.4,
    "Milan": 4.2,
}
HEATING_VALUES: dict[str, float] = {"norway": 11.15, "algeria": 11.5, "lng": 11.85, "azerbaijan": 10.9, "biogas": 10.4}
MWH_PER_UNIT: dict[str, float] = {"MWh": 1.0, "kWh": 0.001, "GJ": 1 / 3.6, "therm": 0.0293071}
# daily capacity in MWh, and the tariff in EUR/MWh before the world's own deviation
PIPELINES: dict[str, tuple[int, float]] = {
    "Europipe": (480_000, 0.9),
    "Franpipe": (560_000, 1.1),
    "Langeled": (720_000, 1.3),
    "Transmed": (900_000, 1.7),
    "Zeepipe": (420_000, 0.8),
}
HOLIDAYS = {(1, 1), (5, 1), (12, 25), (12, 26)}


def draw(seed: int, *parts: object) -> float:
    """A number in [0, 1) that depends only on the seed and the parts."""
    key = "|".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big") / 2**56


def season(date: datetime.date) -> float:
    """How wintry a day is: 1 in the middle of January, -1 in the middle of July."""
    return math.cos(2 * math.pi * (date.timetuple().tm_yday - 15) / 365.25)


def spot_price(seed: int, hub: str, date: datetime.date) -> float:
    """The day-ahead price; days differ by a common move and a smaller one of each hub."""
    common = 6 * (draw(seed, "spot", date) - 0.5)
    own = 2 * (draw(seed, "spot", hub, date) - 0.5)
    return round(HUB_LEVELS[hub] + 4 * season(date) + common + own, 2)


def factory_price(seed: int, factory: str, date: datetime.date) -> float:
    """The price at a factory gate: Dutch spot, a premium for transport, a small deviation."""
    deviation = draw(seed, "factory", factory, date) - 0.5
    return round(spot_price(seed, "TTF", date) + FACTORY_PREMIUMS[factory] + deviation, 2)


def auction_price(seed: int, month: datetime.date, hub: str) -> float:
    """The clearing price of an auction for delivery in the month that begins on ``month``."""
    deviation = 5 * (draw(seed, "auction", month, hub) - 0.5)
    return round(HUB_LEVELS[hub] + 3.5 * season(month.replace(day=15)) + deviation, 2)


def pipeline_flow(seed: int, pipeline: str, date: datetime.date) -> int:
    """The day's flow in MWh, between 40 and 95 percent of capacity."""
    share = 0.62 + 0.12 * season(date) + 0.2 * draw(seed, "flow", pipeline, date)
    return round(PIPELINES[pipeline][0] * share)


def storage_level(seed: int, site: str, date: datetime.date) -> float:
    """How full a storage site is, in percent: fullest in October, emptiest in April."""
    phase = math.cos(2 * math.pi * (date.timetuple().tm_yday - 290) / 365.25)
    return round(58 + 30 * phase + 12 * (draw(seed, "storage", site, date) - 0.5), 1)


def tariff(seed: int, pipeline: str) -> float:
    """The transport tariff of a pipeline in EUR/MWh, fixed for a world."""
    return round(PIPELINES[pipeline][1] * (0.9 + 0.2 * draw(seed, "tariff", pipeline)), 2)


def free_capacity(seed: int, pipeline: str, date: datetime.date) -> int:
    """What a pipeline can still sell for a day before anybody books, in MWh, in steps of 100."""
    return 2_000 + 100 * int(180 * draw(seed, "capacity", pipeline, date))


def is_working_day(date: datetime.date) -> bool:
    """Monday to Friday, and not a fixed holiday."""
    return date.weekday() < 5 and (date.month, date.day) not in HOLIDAYS


def shift_working_days(date: datetime.date, offset: int) -> datetime.date:
    """The working day ``offset`` working days away; with 0 the day itself or the next working day."""
    step = datetime.timedelta(days=-1 if offset < 0 else 1)
    if offset == 0:
        while not is_working_day(date):
            date += step
    for _ in range(abs(offset)):
        date += step
        while not is_working_day(date):
            date += step
    return date
