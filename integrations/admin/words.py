"""Names and lists as people read them."""

import math
from datetime import timedelta

from integrations.flows import FLOW_KINDS
from integrations.models import Flow


def flow_name(flow: Flow) -> str:
    """What its kind is called, unless the clinic gave the flow a name of its own."""
    return FLOW_KINDS[flow.kind].label if flow.name == flow.kind else flow.name


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
