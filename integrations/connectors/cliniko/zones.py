"""From what Cliniko calls a zone to an IANA name: the identifier where it is there, else the label's city."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from integrations.toolkit.payload import Json

# Labels that Cliniko shows where it names no IANA zone: the cities of its own list, and what lies around it.
_ZONE_OF_LABEL = {
    city: f"Australia/{city}"
    for city in ("Adelaide", "Brisbane", "Canberra", "Darwin", "Hobart", "Melbourne", "Perth", "Sydney")
} | {
    "Auckland": "Pacific/Auckland",
    "Wellington": "Pacific/Auckland",
    "London": "Europe/London",
    "Edinburgh": "Europe/London",
    "Dublin": "Europe/Dublin",
    "Singapore": "Asia/Singapore",
    "Hong Kong": "Asia/Hong_Kong",
    "Eastern Time (US & Canada)": "America/New_York",
    "Central Time (US & Canada)": "America/Chicago",
    "Mountain Time (US & Canada)": "America/Denver",
    "Pacific Time (US & Canada)": "America/Los_Angeles",
}


def zone_of(row: Json) -> str:
    """The IANA name of a business's or a user's zone that this machine knows, or ``""``."""
    for told in (_text(row, "time_zone_identifier"), _ZONE_OF_LABEL.get(label := _text(row, "time_zone"), label)):
        try:
            if told:
                return ZoneInfo(told).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return ""


def _text(row: Json, name: str) -> str:
    raw = row.get(name)
    return " ".join(raw.split())[:200] if isinstance(raw, str) else ""
