"""Names and lists as people read them."""

import math
import re
from datetime import timedelta

from integrations.flows import FLOW_KINDS
from integrations.models import Action, Flow

_SPAN = re.compile(r"(\d+)\s*([smhd])")
_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day"}


def flow_name(flow: Flow) -> str:
    """What its kind is called, unless the clinic gave the flow a name of its own."""
    return name_of_flow(flow.name)


def name_of_flow(name: str) -> str:
    """The same where only the name is known."""
    return FLOW_KINDS[name].label if name in FLOW_KINDS else name


def action_words(action: str) -> str:
    """What a line of the log did, as a receptionist would say it."""
    return "Prepare" if action == Action.MAP else Action(action).label


def rhythm(every: str) -> str:
    """How often a flow runs: ``every 15 minutes``, ``every day``; a cron line as it is, and named as one."""
    match = _SPAN.fullmatch(every.strip())
    if match is None:
        return f"by its timetable ({every.strip()})"
    count, unit = int(match[1]), _UNITS[match[2]]
    return f"every {unit}" if count == 1 else f"every {count} {unit}s"


def lasted(span: timedelta) -> str:
    """A duration in the two units that matter."""
    seconds = int(span.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {seconds} s"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"


def roughly(seconds: float) -> str:
    """A duration as one says it of what is still to come: ``less than a minute``, ``about 1 h 10 min``."""
    minutes = math.ceil(seconds / 60)
    if minutes <= 1:
        return "less than a minute"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"about {days} d {hours} h"
    return f"about {hours} h {minutes} min" if hours else f"about {minutes} min"
