"""The screens of connections, flows and the sync, one module a noun. Importing this package fills both sites."""

from integrations.admin import (
    blueprints,
    clinics,
    connections,
    desk,
    digests,
    flows,
    incidents,
    links,
    reruns,
    runs,
    synclog,
)

__all__ = [
    "blueprints",
    "clinics",
    "connections",
    "desk",
    "digests",
    "flows",
    "incidents",
    "links",
    "reruns",
    "runs",
    "synclog",
]
