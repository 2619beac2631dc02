"""What must be true before a web server or a worker begins; `manage.py check --deploy` says the same.

A laptop (an http address) may do what a host reached by https may not.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from tenants.checks import refuse_broken_walls

KEY_BYTES = 32
LEAST_SECRET = 50

# Measured: a worse value loses doorbells, runs tasks twice or lets them queue up inside a process.
QUEUE_EXACT: dict[str, object] = {
    "bulk": 1,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "save_limit": -1,
}
QUEUE_AT_MOST = {"queue_limit": 1, "timeout": 60}


def refuse_unsafe_start() -> None:
    """Raise ImproperlyConfigured, or WallsBroken, instead of serving with a wall down."""
    faults = [*queue_faults(), *deployment_faults()]
    if faults:
        raise ImproperlyConfigured(" ".join(faults))
    refuse_broken_walls()


def check_queue(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    return [Error(fault, id="config.E001") for fault in queue_faults()]


def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    return [Error(fault, id="config.E002") for fault in deployment_faults()]


def queue_faults() -> Iterator[str]:
    queue: dict[str, Any] = settings.Q_CLUSTER
    for name, wanted in QUEUE_EXACT.items():
        if queue.get(name) != wanted:
            yield f"The queue's {name} must be {wanted!r}."
    for name, most in QUEUE_AT_MOST.items():
        if not isinstance(queue.get(name), int) or queue[name] > most:
            yield f"The queue's {name} must be at most {most}."
    if not (queue.get("retry") or 0) > settings.SUTURE_LEASE_S > (queue.get("timeout") or 0):
        yield "The queue's retry must be longer than a claim's lease, and the lease longer than the queue's timeout."


def deployment_faults() -> Iterator[str]:
    if not settings.SUTURE_KEY_RING:
        yield "SUTURE_KEY_RING is missing: no credential can be sealed."
    elif not all(map(_is_key, settings.SUTURE_KEY_RING)):
        yield f"SUTURE_KEY_RING must hold `name:base64 of {KEY_BYTES} bytes`, comma separated."
    if any("*" in host or host.startswith(".") for host in settings.ALLOWED_HOSTS):
        yield "ALLOWED_HOSTS must name hosts exactly."
    if not settings.SUTURE_BASE_URL.startswith("https://"):
        return
    if settings.DEBUG:
        yield "DEBUG must be off."
    if len(settings.SECRET_KEY) < LEAST_SECRET or settings.SECRET_KEY.startswith("django-insecure-"):
        yield f"SECRET_KEY must be {LEAST_SECRET} random characters or more."
    if not settings.SUTURE_STATIC_ROOT:
        yield "SUTURE_STATIC_ROOT must name where `collectstatic` gathered the files."


def _is_key(entry: str) -> bool:
    name, _, key = entry.partition(":")
    try:
        return bool(name) and len(base64.b64decode(key, validate=True)) == KEY_BYTES
    except binascii.Error:
        return False
