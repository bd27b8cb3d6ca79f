"""The simulated smart home: its devices and what they can do, first scenes and schedules, drawn from a seed."""

from collections.abc import Mapping
from random import Random
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.tool_error import ToolError
from mcpserver.tools.services._kinds import Clock, Id
from mcpserver.tools.services._records import Record, find

Room = Literal["living_room", "kitchen", "bedroom", "office", "hall", "garden"]
DeviceKind = Literal["light", "plug", "thermostat", "blind", "lock", "speaker", "sensor"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DEVICES: tuple[tuple[str, DeviceKind, Room], ...] = (
    ("Ceiling light", "light", "living_room"),
    ("Reading lamp", "light", "living_room"),
    ("Kitchen light", "light", "kitchen"),
    ("Coffee machine", "plug", "kitchen"),
    ("Bedroom light", "light", "bedroom"),
    ("Bedroom blind", "blind", "bedroom"),
    ("Living room blind", "blind", "living_room"),
    ("Living room heating", "thermostat", "living_room"),
    ("Bedroom heating", "thermostat", "bedroom"),
    ("Office heating", "thermostat", "office"),
    ("Desk light", "light", "office"),
    ("Front door", "lock", "hall"),
    ("Garden gate", "lock", "garden"),
    ("Speaker", "speaker", "living_room"),
    ("Air sensor", "sensor", "office"),
    ("Garden sensor", "sensor", "garden"),
)


class Switch(TypedDict):
    """Switch a light, plug or speaker."""

    do: Literal["switch"]
    on: bool


class Dim(TypedDict):
    """Set a light."""

    do: Literal["dim"]
    percent: Annotated[int, Ge(1), Le(100)]


class Heat(TypedDict):
    """Set a thermostat."""

    do: Literal["heat"]
    celsius: Annotated[float, Ge(5), Le(28)]


class Move(TypedDict):
    """Set a blind, 0 is open."""

    do: Literal["move"]
    percent: Annotated[int, Ge(0), Le(100)]


class Lock(TypedDict):
    """Lock or unlock a door."""

    do: Literal["lock"]
    locked: bool


Action = Switch | Dim | Heat | Move | Lock


class Step(TypedDict):
    """What one device does in a scene."""

    device: Id
    action: Action


class When(TypedDict):
    """When a scene runs."""

    at: Clock
    days: Annotated[list[Weekday], Len(1, 7)]


def make_home(rng: Random) -> dict[str, Any]:
    """Devices D-1 … D-16, the scenes "good night" and "away", and the schedule H-1."""
    devices: dict[str, Any] = {}
    for index, (name, kind, room) in enumerate(_DEVICES, 1):
        device: Record = {"id": f"D-{index}", "name": name, "kind": kind, "room": room}
        devices[device["id"]] = device | {"state": _first_state(kind, rng)}
    night: list[Record] = [{"device": f"D-{n}", "action": {"do": "switch", "on": False}} for n in (1, 2, 3)]
    night.append({"device": "D-12", "action": {"do": "lock", "locked": True}})
    away: list[Record] = [{"device": f"D-{n}", "action": {"do": "heat", "celsius": 15.0}} for n in (8, 9, 10)]
    schedule = {"id": "H-1", "scene": "good night", "at": f"22:{rng.randint(10, 59)}", "days": ["mon", "tue"]}
    scenes = {"good night": night, "away": away}
    return {"devices": devices, "scenes": scenes, "schedules": {"H-1": schedule}, "next": {"H": 2}}


def _first_state(kind: str, rng: Random) -> Record:
    states: Mapping[str, Record] = {
        "light": {"on": rng.random() < 0.5, "percent": rng.choice((40, 60, 80))},
        "plug": {"on": rng.random() < 0.3},
        "thermostat": {"celsius": rng.choice((18.0, 19.5, 21.0)), "measured": round(rng.uniform(17, 22), 1)},
        "blind": {"percent": rng.choice((0, 30, 100))},
        "lock": {"locked": rng.random() < 0.5},
        "speaker": {"on": False, "volume": rng.randint(20, 50)},
        "sensor": {
            "celsius": rng.randint(40, 220) / 10,
            "humidity": rng.randint(35, 70),
            "co2_ppm": rng.randint(420, 999),
        },
    }
    return states[kind]


_DOES: Mapping[str, tuple[str, ...]] = {
    "switch": ("light", "plug", "speaker"),
    "dim": ("light",),
    "heat": ("thermostat",),
    "move": ("blind",),
    "lock": ("lock",),
}


def find_device(home: Mapping[str, Any], device: str) -> Record:
    """The device with an id."""
    found: Record = find(home["devices"], device, "device", "list_home_devices")
    return found


def check_action(device: Mapping[str, Any], action: Action) -> None:
    """Refuse what a device cannot do.

    Raises:
        ToolError: says what it can do.
    """
    kind = device["kind"]
    if kind not in _DOES[action["do"]]:
        able = [do for do, kinds in _DOES.items() if kind in kinds]
        hint = f"it can {' or '.join(able)}" if able else "it only measures"
        raise ToolError("bad_arguments", f"action: {device['id']} is a {kind} and cannot {action['do']}; {hint}")


def act(device: Record, action: Action) -> None:
    """Let a device do something."""
    check_action(device, action)
    device["state"] |= {name: value for name, value in action.items() if name != "do"}
    if action["do"] == "dim":
        device["state"]["on"] = True
