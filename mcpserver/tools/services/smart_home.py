"""A simulated smart home: devices, scenes of several actions, and schedules."""

from typing import Annotated, Any

from annotated_types import Len
from pydantic import StringConstraints

from mcpserver.context import Context
from mcpserver.tools.services._home import (
    Action,
    DeviceKind,
    Room,
    Step,
    When,
    act,
    check_action,
    find_device,
    make_home,
)
from mcpserver.tools.services._kinds import Id, Line
from mcpserver.tools.services._records import Record, check, find, keep_room, new_id, one_of, page, refuse_if

RUNS_IN = "server"
MAX_SCENES, MAX_SCHEDULES = 30, 40
_SERVICE = "home"
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def list_home_devices(context: Context, room: Room | None = None, kind: DeviceKind | None = None) -> dict[str, Any]:
    """List the devices of the home with their states.

    Args:
        room: only in this room
        kind: only of this kind

    Example:
        {"room": "living_room"}
        {"kind": "thermostat"}
    """
    devices = context.read(_SERVICE, make_home)["devices"].values()
    return {"devices": [d for d in devices if room in (None, d["room"]) and kind in (None, d["kind"])]}


def control_device(context: Context, device: Id, action: Action) -> dict[str, Any]:
    """Let a device switch, dim, heat, move or lock.

    Args:
        device: id of the device
        action: what it shall do

    Example:
        {"device": "D-1", "action": {"do": "dim", "percent": 35}}
        {"device": "D-8", "action": {"do": "heat", "celsius": 20.5}}
    """
    found = find_device(context.change(_SERVICE, make_home), device)
    act(found, action)
    return found


def list_home_scenes(context: Context) -> dict[str, Any]:
    """List the scenes of the home and their schedules.

    Example:
        {}
    """
    home = context.read(_SERVICE, make_home)
    scenes = [{"scene": name, "steps": steps} for name, steps in sorted(home["scenes"].items())]
    return {**page(scenes, MAX_SCENES, 0, "scenes"), "schedules": list(home["schedules"].values())}


def create_scene(
    context: Context,
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9 -]{1,29}$")],
    steps: Annotated[list[Step], Len(1, 12)],
) -> dict[str, Any]:
    """Create a scene, or replace one.

    Args:
        name: lower-case name
        steps: what each device does

    Example:
        {"name": "movie", "steps": [{"device": "D-1", "action": {"do": "dim", "percent": 10}}, {"device": "D-7", "action": {"do": "move", "percent": 100}}]}
    """  # noqa: E501
    home = context.change(_SERVICE, make_home)
    keep_room([] if name in home["scenes"] else home["scenes"], MAX_SCENES, "scenes")
    for step in steps:
        check_action(find_device(home, step["device"]), step["action"])
    devices = [step["device"] for step in steps]
    check(len(set(devices)) == len(devices), "steps: each device can be in a scene only once")
    kept = sorted(({"device": step["device"], "action": dict(step["action"])} for step in steps), key=_device)
    home["scenes"][name] = kept
    return {"scene": name, "steps": kept}


def run_scene(context: Context, scene: Line) -> dict[str, Any]:
    """Run a scene now.

    Args:
        scene: name of the scene

    Example:
        {"scene": "away"}
    """
    home = context.change(_SERVICE, make_home)
    name = one_of(scene, home["scenes"], "scene")
    for step in home["scenes"][name]:
        act(find_device(home, step["device"]), step["action"])
    return {"scene": name, "done": [home["devices"][step["device"]] for step in home["scenes"][name]]}


def schedule_scene(context: Context, scene: Line, when: When) -> dict[str, Any]:
    """Run a scene every week at a time.

    Args:
        scene: name of the scene
        when: time and days

    Example:
        {"scene": "away", "when": {"at": "08:15", "days": ["mon", "tue", "wed", "thu", "fri"]}}
    """
    home = context.change(_SERVICE, make_home)
    keep_room(home["schedules"], MAX_SCHEDULES, "schedules")
    days = [day for day in _WEEK if day in when["days"]]
    schedule: Record = {"scene": one_of(scene, home["scenes"], "scene"), "at": when["at"], "days": days}
    same = [number for number, other in home["schedules"].items() if schedule == {k: other[k] for k in schedule}]
    refuse_if(bool(same), f"when: {same[:1]} is the same schedule")
    number = new_id(home, "H")
    home["schedules"][number] = {"id": number, **schedule}
    return dict(home["schedules"][number])


def cancel_schedule(context: Context, schedule: Id) -> dict[str, Any]:
    """Cancel the schedule of a scene.

    Args:
        schedule: id of the schedule

    Example:
        {"schedule": "H-1"}
    """
    schedules = context.change(_SERVICE, make_home)["schedules"]
    find(schedules, schedule, "schedule", "list_home_scenes")
    return {"cancelled": schedules.pop(schedule)}


def _device(step: Record) -> str:
    return str(step["device"])
