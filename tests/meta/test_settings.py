"""`.env.example` and `config/settings.py` say the same, and importing the settings makes nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
SOURCE = (ROOT / "config" / "settings.py").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()

READ = set(re.findall(r'\benv\.\w+\(\s*"([A-Z_]+)"', SOURCE))
LISTED = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
SHOWN = dict(re.findall(r"^([A-Z_]+)=(.+)$", EXAMPLE, re.MULTILINE))
TAKEN_APART = {"EMAIL_URL"}  # becomes several settings


def read_in_a_new_process(code: str, **env: str) -> str:
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=bare | env, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_setting_is_in_the_example_and_every_example_is_a_setting():
    assert set(LISTED) == READ


def test_the_example_shows_the_defaults():
    told = read_in_a_new_process(
        f"""
import json
from config import settings
print(json.dumps({{name: str(getattr(settings, name, None)) for name in {sorted(SHOWN)!r}}}))
"""
    )
    defaults = {name: as_number(value) for name, value in json.loads(told).items() if name not in TAKEN_APART}
    assert defaults == {name: as_number(value) for name, value in SHOWN.items() if name not in TAKEN_APART}


def as_number(text: str) -> float | str:
    try:
        return float({"True": "1", "False": "0"}.get(text, text))
    except ValueError:
        return text


def test_reading_the_settings_makes_no_secret_and_no_folder(tmp_path):
    told = read_in_a_new_process(
        "from config import settings as s; print(repr(s.SECRET_KEY), s.SUTURE_KEY_RING, s.SUTURE_VAR.exists())",
        SUTURE_VAR=str(tmp_path / "var"),
    )
    assert told == "'' [] False"


def test_https_brings_host_bound_cookies_and_hsts():
    told = read_in_a_new_process(
        "from config import settings as s; print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE,"
        " s.SECURE_SSL_REDIRECT, s.SECURE_HSTS_SECONDS, s.ALLOWED_HOSTS)",
        SUTURE_BASE_URL="https://suture.example",
    )
    assert told == "__Host-session __Host-csrf True True 31536000 ['suture.example']"


def test_vendor_origins_are_read_with_their_templates():
    told = read_in_a_new_process(
        "from config import settings as s; print(s.SUTURE_VENDOR_URLS)",
        SUTURE_VENDOR_URLS="one=http://127.0.0.1:9101,two=http://127.0.0.1:9102/{account}",
    )
    assert told == "{'one': 'http://127.0.0.1:9101', 'two': 'http://127.0.0.1:9102/{account}'}"


def test_the_queue_is_set_as_measured():
    wanted = {
        "workers": 4, "timeout": 60, "retry": 240, "queue_limit": 1, "bulk": 1, "max_attempts": 1,
        "ack_failures": True, "catch_up": False, "save_limit": -1,
    }  # fmt: skip
    assert {name: settings.Q_CLUSTER[name] for name in wanted} == wanted


def test_a_claim_outlives_a_task_and_a_task_outlives_its_slice_and_call():
    assert settings.SUTURE_CALL_S < settings.SUTURE_SLICE_S < settings.SUTURE_TASK_S < settings.SUTURE_LEASE_S
    assert settings.Q_CLUSTER["timeout"] == settings.SUTURE_TASK_S < settings.Q_CLUSTER["retry"]


def test_the_policy_allows_no_script_but_our_files():
    policy = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == ["'self'"]
    assert policy["frame-ancestors"] == ["'none'"]
