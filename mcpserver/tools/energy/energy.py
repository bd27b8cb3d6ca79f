"""Energy trading: simulated prices, flows and storage, unit conversion, working days, and capacity bookings."""

import datetime
from random import Random
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox import market
from mcpserver.toolbox.market import Factory, Hub, Pipeline, Site, Source, Unit

RUNS_IN = "server"
FIRST_DAY, LAST_DAY = datetime.date(2015, 1, 1), datetime.date(2035, 12, 31)
MAX_AMOUNT = 1e12


def _known_day(date: datetime.date) -> datetime.date:
    if not FIRST_DAY <= date <= LAST_DAY:
        raise ValueError(f"must lie between {FIRST_DAY} and {LAST_DAY}")
    return date


def _known_month(text: str) -> str:
    try:
        _known_day(datetime.date.fromisoformat(f"{text}-01"))
    except ValueError:
        raise ValueError(f"must be a month such as 2025-03, from {FIRST_DAY:%Y-%m} to {LAST_DAY:%Y-%m}") from None
    return text


def _amount(value: float) -> float:
    if abs(value) > MAX_AMOUNT:
        raise ValueError(f"must lie between -{MAX_AMOUNT:g} and {MAX_AMOUNT:g}")
    return value


Day = Annotated[datetime.date, AfterValidator(_known_day), Field(description="day, YYYY-MM-DD")]
Month = Annotated[str, AfterValidator(_known_month), Field(description="delivery month, YYYY-MM")]
HubName = Annotated[Hub, Field(description="trading hub")]
PipelineName = Annotated[Pipeline, Field(description="pipeline name")]
EnergyMwh = Annotated[float, Field(description="energy in MWh", gt=0), AfterValidator(_amount)]


def get_spot_price(context: Context, hub: HubName, date: Day) -> dict[str, Any]:
    """Get the gas spot price at a hub.

    Example:
        {"hub": "TTF", "date": "2025-03-14"}
    """
    return {"price": market.spot_price(context.seed, hub, date), "unit": "EUR/MWh"}


def get_factory_price(
    context: Context, factory: Annotated[Factory, Field(description="factory name")], date: Day
) -> dict[str, Any]:
    """Get the gas price at a factory gate.

    Example:
        {"factory": "Rotterdam", "date": "2025-03-14"}
    """
    return {"price": market.factory_price(context.seed, factory, date), "unit": "EUR/MWh"}


def get_auction_price(context: Context, product: Month, hub: HubName) -> dict[str, Any]:
    """Get the auction price of a monthly gas product.

    Example:
        {"product": "2025-04", "hub": "THE"}
    """
    month = datetime.date.fromisoformat(f"{product}-01")
    return {"price": market.auction_price(context.seed, month, hub), "unit": "EUR/MWh"}


def get_heating_value(source: Annotated[Source, Field(description="gas source")]) -> dict[str, Any]:
    """Get the heating value of gas from a source.

    Example:
        {"source": "norway"}
    """
    return {"heating_value": market.HEATING_VALUES[source], "unit": "kWh/m3"}


def convert_energy(
    value: Annotated[float, Field(description="amount of energy"), AfterValidator(_amount)],
    from_unit: Annotated[Unit, Field(description="given unit")],
    to_unit: Annotated[Unit, Field(description="wanted unit")],
) -> dict[str, Any]:
    """Convert an amount of energy to another unit.

    Example:
        {"value": 250, "from_unit": "MWh", "to_unit": "GJ"}
    """
    energy_mwh = value * market.MWH_PER_UNIT[from_unit]
    return {"value": round(energy_mwh / market.MWH_PER_UNIT[to_unit], 4), "unit": to_unit}


def gas_volume_to_energy(
    volume_m3: Annotated[float, Field(description="gas volume in m3", ge=0), AfterValidator(_amount)],
    heating_value: Annotated[float, Field(description="heating value in kWh/m3", gt=0, le=100)],
) -> dict[str, Any]:
    """Compute the energy of a gas volume.

    Example:
        {"volume_m3": 50000, "heating_value": 11.15}
    """
    return {"energy": round(volume_m3 * heating_value / 1000, 3), "unit": "MWh"}


def get_pipeline_flow(context: Context, pipeline: PipelineName, date: Day) -> dict[str, Any]:
    """Get the gas flow through a pipeline.

    Example:
        {"pipeline": "Langeled", "date": "2025-01-20"}
    """
    return {"flow": market.pipeline_flow(context.seed, pipeline, date), "unit": "MWh/day"}


def get_storage_level(
    context: Context, site: Annotated[Site, Field(description="storage site")], date: Day
) -> dict[str, Any]:
    """Get how full a gas storage site is.

    Example:
        {"site": "Rehden", "date": "2025-10-01"}
    """
    return {"level": market.storage_level(context.seed, site, date), "unit": "percent"}


def price_spread(
    context: Context,
    hub_a: Annotated[Hub, Field(description="first hub")],
    hub_b: Annotated[Hub, Field(description="second hub")],
    date: Day,
) -> dict[str, Any]:
    """Get the spot price difference between two hubs.

    Example:
        {"hub_a": "TTF", "hub_b": "NBP", "date": "2025-03-14"}
    """
    difference = market.spot_price(context.seed, hub_a, date) - market.spot_price(context.seed, hub_b, date)
    return {"spread": round(difference, 2), "unit": "EUR/MWh"}


def transport_cost(context: Context, pipeline: PipelineName, energy_mwh: EnergyMwh) -> dict[str, Any]:
    """Compute the cost of moving gas through a pipeline.

    Example:
        {"pipeline": "Zeepipe", "energy_mwh": 1200}
    """
    return {"cost": round(market.tariff(context.seed, pipeline) * energy_mwh, 2), "unit": "EUR"}


def get_trading_day(
    date: Day, offset: Annotated[int, Field(description="working days to move", ge=-250, le=250)]
) -> dict[str, Any]:
    """Get the trading day some working days away.

    Example:
        {"date": "2025-03-14", "offset": 2}
    """
    return {"date": market.shift_working_days(date, offset).isoformat()}


def count_delivery_days(
    start: Annotated[Day, Field(description="first day, YYYY-MM-DD")],
    end: Annotated[Day, Field(description="last day, YYYY-MM-DD")],
) -> dict[str, Any]:
    """Count the delivery days of a period, both ends included.

    Example:
        {"start": "2025-04-01", "end": "2025-04-30"}
    """
    if end < start:
        raise ToolError("bad_arguments", f"end: {end} lies before start {start}")
    return {"days": (end - start).days + 1}


def book_capacity(context: Context, pipeline: PipelineName, date: Day, energy_mwh: EnergyMwh) -> dict[str, Any]:
    """Book transport capacity on a pipeline for a day.

    Example:
        {"pipeline": "Europipe", "date": "2025-03-17", "energy_mwh": 500}
    """
    ledger: dict[str, list[float]] = context.change("bookings", _no_bookings)
    day = f"{pipeline} {date}"
    booked = ledger.get(day, [])
    left = market.free_capacity(context.seed, pipeline, date) - sum(booked)
    if energy_mwh > left:
        raise ToolError("tool_error", f"energy_mwh: only {left:g} MWh are free on {pipeline} on {date}")
    # sorted, so that the order of parallel bookings leaves no trace in the state
    ledger[day] = sorted([*booked, energy_mwh])
    number = f"{pipeline[:3].upper()}-{date:%Y%m%d}-{len(booked) + 1}"
    return {"booking": number, "energy_mwh": energy_mwh, "free_mwh": round(left - energy_mwh, 3)}


def _no_bookings(_rng: Random) -> dict[str, Any]:
    return {}
