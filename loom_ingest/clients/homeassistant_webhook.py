"""What the types of a companion app's webhook do: an explicit table."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from fastapi import Request
from pydantic_core import to_json

from loom_ingest.clients.homeassistant_readings import event_draft, known_drafts, location_drafts, state_drafts
from loom_ingest.clients.homeassistant_store import Phone, Phones
from loom_ingest.clients.loose import label, storable
from loom_ingest.clients.taking import Draft, take_drafts, unrecognized_pieces

CLIENT: Final = "homeassistant"
VERSION: Final = "2024.1.0"
"""The Home Assistant that Loom is like, as far as apps ask: it has all types below, and keys in hexadecimal."""
MOST_SENSORS: Final = 500
_KINDS: Final = ("sensor", "binary_sensor")


@dataclass(frozen=True)
class Call:
    """One message of a phone: its type and its data, decrypted."""

    request: Request
    phones: Phones
    phone: Phone
    kind: str
    data: Any

    async def take(self, drafts: list[Draft]) -> None:
        """Return when all of `drafts` are stored."""
        await take_drafts(self.request, CLIENT, self.phone.device_id, drafts)


@dataclass(frozen=True)
class Answer:
    """JSON and a status; `plain` when it is not encrypted, whatever the request was."""

    body: bytes
    status: int = 200
    plain: bool = False

    @staticmethod
    def of(content: Any, status: int = 200) -> "Answer":
        """An answer of this content."""
        return Answer(to_json(content), status, content == {})

    @staticmethod
    def error(code: str, message: str) -> "Answer":
        """An error in Home Assistant's shape."""
        return Answer(to_json({"success": False, "error": {"code": code, "message": message}}), 400, True)


async def perform(call: Call) -> Answer | None:
    """The answer to `call`; None when its type or its data are not known, and nothing of it is stored then."""
    action = _ACTIONS.get(call.kind)
    return None if action is None else await action(call)


async def _update_location(call: Call) -> Answer | None:
    if not isinstance(call.data, dict):
        return None
    if call.data.get("battery") is not None:
        call.phone.states["battery_level"] = call.data["battery"]
    await call.take(list(location_drafts(call.data, call.phone.states)))
    return Answer.of({})


async def _register_sensor(call: Call) -> Answer | None:
    sensor_id = label(call.data.get("unique_id")) if isinstance(call.data, dict) else None
    if sensor_id is None or call.data.get("type") not in _KINDS:
        return None
    if sensor_id not in call.phone.sensors and len(call.phone.sensors) >= MOST_SENSORS:
        await call.take(unrecognized_pieces(CLIENT, "one sensor too many", call.data))
        return Answer.error("too_many_sensors", f"A phone may have {MOST_SENSORS} sensors")
    names = (
        "type",
        "name",
        "device_class",
        "unit_of_measurement",
        "state_class",
        "entity_category",
        "icon",
        "disabled",
    )
    sensor = {name: storable(call.data[name]) for name in names if name in call.data}
    await call.phones.add_sensor(call.phone, sensor_id, sensor)
    if "state" in call.data and not call.data.get("disabled"):
        await _take_states(call, {sensor_id: call.data})
    return Answer.of({"success": True}, 201)


_OF_A_SENSOR: Final = (
    "type", "name", "device_class", "unit_of_measurement", "state_class", "entity_category", "icon", "disabled",
)  # fmt: skip


async def _update_sensor_states(call: Call) -> Answer | None:
    """Each sensor for itself: one that is not registered, or of another shape, is told and the others are taken."""
    updates = [call.data] if isinstance(call.data, dict) else call.data
    if not isinstance(updates, list) or not updates:
        return None if updates != [] else Answer.of({})
    results: dict[str, Any] = {}
    taken: dict[str, dict[str, Any]] = {}
    kept: list[Draft] = []
    call = replace(call, phone=await _with_sensors(call, updates))
    for update in updates:
        sensor_id = label(update.get("unique_id")) if isinstance(update, dict) else None
        if sensor_id is None:
            kept += unrecognized_pieces(CLIENT, "a state of a sensor without unique_id", update)
            continue
        sensor = call.phone.sensors.get(sensor_id)
        if sensor is None:
            results[sensor_id] = _refusal("not_registered", f"{update.get('type')} {sensor_id} is not registered")
            kept += unrecognized_pieces(CLIENT, f"sensor {sensor_id} is not registered", update)
        elif "state" not in update or isinstance(update["state"], dict | list):
            results[sensor_id] = _refusal("invalid_format", "state must be text, a number, a boolean or null")
            kept += unrecognized_pieces(CLIENT, f"a state of {sensor_id} in another shape", update)
        else:
            results[sensor_id] = {"success": True} | ({"is_disabled": True} if sensor.get("disabled") else {})
            # The same sensor twice in one message is two records.
            if sensor_id in taken:
                kept += state_drafts(sensor_id, sensor, taken[sensor_id])
            taken[sensor_id] = update
    await _take_states(call, taken, kept)
    return Answer.of(results)


async def _with_sensors(call: Call, updates: list[Any]) -> Phone:
    """The phone, read anew when a sensor of `updates` is not known: another process may have registered it."""
    ids = {update["unique_id"] for update in updates if isinstance(update, dict) and label(update.get("unique_id"))}
    if ids - call.phone.sensors.keys():
        fresh = await call.phones.find(call.request.path_params["webhook_id"], fresh=True)
        return call.phone if fresh is None else fresh
    return call.phone


async def _take_states(call: Call, updates: dict[str, dict[str, Any]], more: list[Draft] | None = None) -> None:
    phone = call.phone
    drafts = list(more or ())
    for sensor_id, update in updates.items():
        phone.states[sensor_id] = update.get("state")
        drafts += state_drafts(sensor_id, phone.sensors.get(sensor_id, update), update)
    drafts += known_drafts(updates, phone.states)
    await call.take(drafts)


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "error": {"code": code, "message": message}}


async def _update_registration(call: Call) -> Answer | None:
    if not isinstance(call.data, dict):
        return None
    names = ("app_data", "app_version", "device_name", "manufacturer", "model", "os_version")
    await call.phones.change(call.phone, {name: storable(call.data[name]) for name in names if name in call.data})
    told = {name: call.phone.registration.get(name) for name in ("app_id", "app_name", *names)}
    return Answer.of(told | {"supports_encryption": call.phone.secret is not None})


async def _enable_encryption(call: Call) -> Answer | None:
    secret = secrets.token_hex(32)
    if call.phone.secret is not None or not await call.phones.encrypt(call.phone, secret):
        return Answer.error("encryption_already_enabled", "Encryption already enabled")
    return Answer(to_json({"secret": secret}), plain=True)


async def _get_config(call: Call) -> Answer | None:
    config = {
        "latitude": 0.0,
        "longitude": 0.0,
        "elevation": 0,
        "hass_device_id": call.phone.device_id,
        "unit_system": {"length": "km", "mass": "g", "temperature": "°C", "volume": "L", "pressure": "Pa"},
        "location_name": "Loom",
        "time_zone": "UTC",
        "components": ["mobile_app", "webhook"],
        "version": VERSION,
        "theme_color": "#03A9F4",
    }
    sensors = call.phone.sensors.items()
    return Answer.of(config | {"entities": {name: {"disabled": bool(s.get("disabled"))} for name, s in sensors}})


async def _get_zones(_: Call) -> Answer | None:
    return Answer.of([])


async def _render_template(call: Call) -> Answer | None:
    if not isinstance(call.data, dict):
        return None
    return Answer.of({name: {"error": "Loom renders no templates"} for name in call.data})


async def _fire_event(call: Call) -> Answer | None:
    kind = label(call.data.get("event_type")) if isinstance(call.data, dict) else None
    if kind is None:
        return None
    await call.take([event_draft("event", kind, call.data.get("event_data"))])
    return Answer.of({})


async def _scan_tag(call: Call) -> Answer | None:
    tag = label(call.data.get("tag_id")) if isinstance(call.data, dict) else None
    if tag is None:
        return None
    rest = {name: value for name, value in call.data.items() if name != "tag_id"}
    await call.take([event_draft("tag", tag, rest or None)])
    return Answer.of({})


async def _not_supported(call: Call) -> Answer | None:
    return Answer.error("not_supported", f"Loom keeps what the app tells; it does not do {call.kind}")


_ACTIONS: Final[dict[str, Callable[[Call], Awaitable[Answer | None]]]] = {
    "update_location": _update_location,
    "register_sensor": _register_sensor,
    "update_sensor_states": _update_sensor_states,
    "update_registration": _update_registration,
    "enable_encryption": _enable_encryption,
    "get_config": _get_config,
    "get_zones": _get_zones,
    "render_template": _render_template,
    "fire_event": _fire_event,
    "scan_tag": _scan_tag,
    "call_service": _not_supported,
    "conversation_process": _not_supported,
    "stream_camera": _not_supported,
}
