"""A server with a wall down does not start."""

import base64
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from config import start

KEY = base64.b64encode(bytes(32)).decode()
SAFE: dict[str, Any] = {
    "SUTURE_BASE_URL": "https://suture.example",
    "SUTURE_KEY_RING": [f"now:{KEY}"],
    "SUTURE_STATIC_ROOT": "/srv/static",
    "SECRET_KEY": "x" * 50,
    "ALLOWED_HOSTS": ["suture.example"],
    "DEBUG": False,
}


def test_a_safe_host_has_no_faults():
    with override_settings(**SAFE):
        assert [*start.deployment_faults(), *start.queue_faults()] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUTURE_KEY_RING", []),
        ("SUTURE_KEY_RING", ["now:c2hvcnQ="]),
        ("SUTURE_KEY_RING", [KEY]),
        ("ALLOWED_HOSTS", ["*"]),
        ("ALLOWED_HOSTS", [".suture.example"]),
        ("DEBUG", True),
        ("SECRET_KEY", "django-insecure-" + "x" * 50),
        ("SECRET_KEY", "short"),
        ("SUTURE_STATIC_ROOT", ""),
    ],
)
def test_an_unsafe_host_is_refused(name, value):
    with override_settings(**SAFE | {name: value}):
        assert len(list(start.deployment_faults())) == 1
        with pytest.raises(ImproperlyConfigured):
            start.refuse_unsafe_start()


@pytest.mark.parametrize(
    "worse",
    [
        {"max_attempts": 0},
        {"ack_failures": False},
        {"catch_up": True},
        {"queue_limit": 16},
        {"timeout": 300},
        {"timeout": None},
        {"retry": 60},
        {"save_limit": 250},
        {"bulk": 10},
    ],
)
def test_a_worse_queue_is_refused(settings, worse):
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, **worse}
    assert list(start.queue_faults()) != []


def test_a_laptop_needs_no_https():
    with override_settings(
        **SAFE | {"SUTURE_BASE_URL": "http://localhost:8000", "DEBUG": True, "SUTURE_STATIC_ROOT": ""}
    ):
        assert list(start.deployment_faults()) == []
