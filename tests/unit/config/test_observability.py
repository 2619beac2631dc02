"""Planted personal values and secrets never reach a log line or an error report."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
import structlog
from sentry_sdk.transport import Transport

from config import observability
from integrations.core.errors import Rejected

CANARIES = {
    "email": "mia.canary@clinic.example",
    "first_name": "Canarymia",
    "phone": "+61 491 570 156",
    "address": {"line1": "17 Canary Street"},
    "access_token": "shpat_0123456789canary0123",
    "note": "canary note text",
}
IN_TEXT = (
    "GET /clinic/customers/?q=canary%20chen&p=2",
    "patient mia.canary@clinic.example was refused",
    "call 0491 570 156 canary",
    "call +61491570156 canary",
    "Authorization: Bearer canary0123456789abcdef",
    "https://owner:canarypassword@shop.example/admin",
    "key MS0xLWNhbmFyeWNhbmFyeWNhbmFyeQ-au1",
    "opened with canary0123456789abcdefABCDEF0123456789zz",
)
PERSONAL = (
    "canary%20",
    "mia.canary",
    "Canarymia",
    "570 156",
    "491570156",
    "Canary Street",
    "canary note",
    "canarypassword",
)
PERSONAL += ("0123456789canary", "canary0123456789", "canarysecretbody", "WNhbmFyeWNhbmFyeQ")


def assert_clean(text: str) -> None:
    assert [value for value in PERSONAL if value in text] == []


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the configured handlers write, with the loggers put back afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configured = structlog.get_config()
    settings = observability.logging_settings("INFO")
    written = io.StringIO()
    settings["handlers"]["stderr"]["stream"] = written
    observability.configure_logging(settings)
    structlog.configure(cache_logger_on_first_use=False)
    yield written
    structlog.configure(**configured)
    root.handlers[:], root.level = before, level
    observability.configure_logging(observability.logging_settings("INFO"))


def fail_with_canaries() -> None:
    mia = CANARIES["email"]
    try:
        raise ValueError(f"duplicate key: {mia}, canarysecretbody")
    except ValueError as error:
        raise Rejected("records.refused", field="email", status=422) from error


def test_a_structured_line_drops_personal_keys_and_keeps_ids(lines):
    structlog.get_logger("suture.test").info(
        "delivery_settled", tenant_id=7, delivery_id=9123456789012, code="ok", **CANARIES
    )
    told = json.loads(lines.getvalue())
    assert_clean(lines.getvalue())
    assert (told["event"], told["tenant_id"], told["delivery_id"], told["code"]) == (
        "delivery_settled",
        7,
        9123456789012,
        "ok",
    )
    assert told["email"] == observability.DROPPED


@pytest.mark.parametrize("text", IN_TEXT)
def test_texts_are_masked_in_our_lines_and_in_a_librarys(lines, text):
    structlog.get_logger("suture.test").info(text, where=[text, {"deep": text}])
    logging.getLogger("some.library").warning("said: %s", text)
    logging.getLogger("django.request").warning("Not found: %s", text, extra={"request": text})
    assert len(lines.getvalue().splitlines()) == 3
    assert_clean(lines.getvalue())


@pytest.mark.parametrize(
    "text",
    ["2026-11-21T18:19:00+00:00", "gid://shop/Customer/7312345678901", "run 0190-55 of 12", "Why? Because a = b"],
)
def test_ids_dates_and_sentences_are_left_alone(text):
    assert observability.masked(text) == text


@pytest.mark.parametrize("library", [False, True])
def test_a_logged_exception_keeps_class_code_and_place_but_no_message(lines, library):
    log: Any = logging.getLogger("some.library") if library else structlog.get_logger("suture.test")
    try:
        fail_with_canaries()
    except Rejected:
        log.exception("task_failed")
    told = json.loads(lines.getvalue())
    assert_clean(lines.getvalue())
    assert told["exception"]["type"] == "Rejected"
    assert "records.refused" in told["exception"]["text"]
    assert "text" not in told["exception"]["cause"]
    assert any("fail_with_canaries" in place for place in told["exception"]["at"])


class Kept(Transport):
    """A transport that keeps what would have been sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.sent.append(envelope.serialize().decode())


@pytest.fixture
def reports() -> Iterator[Kept]:
    kept = Kept()
    with sentry_sdk.isolation_scope():
        client = sentry_sdk.Client(
            "https://key@reports.example/1",
            transport=kept,
            environment="test",
            **{**observability.report_options(), "default_integrations": False, "integrations": []},
        )
        scope = sentry_sdk.get_isolation_scope()
        scope.set_client(client)
        yield kept
    client.close()


def test_an_error_report_is_rebuilt_from_the_allow_list(reports):
    scope = sentry_sdk.get_isolation_scope()
    scope.set_user({"email": CANARIES["email"], "ip_address": "203.0.113.9"})
    scope.set_tag("tenant_id", "7")
    scope.set_tag("patient", CANARIES["first_name"])
    scope.set_extra("body", "canarysecretbody")
    scope.set_context("record", CANARIES)
    scope.set_transaction_name("/clinic/customers/mia.canary@clinic.example/")
    sentry_sdk.add_breadcrumb(message="SELECT canarysecretbody", category="query")
    try:
        fail_with_canaries()
    except Rejected as error:
        sentry_sdk.capture_exception(error)
    (sent,) = reports.sent
    assert_clean(sent)
    assert "203.0.113.9" not in sent
    event = json.loads(sent.splitlines()[-1])
    assert event["tags"] == {"tenant_id": "7"}
    assert {value["type"]: value["value"] for value in event["exception"]["values"]} == {
        "ValueError": "",
        "Rejected": "records.refused field=email status=422",
    }
    assert not {"user", "request", "extra", "contexts", "breadcrumbs", "modules", "transaction"} & set(event)
    assert all("vars" not in frame for value in event["exception"]["values"] for frame in value["stacktrace"]["frames"])


def test_a_logged_error_is_reported_without_its_text(reports):
    sentry_sdk.capture_message("refused mia.canary@clinic.example")
    (sent,) = reports.sent
    assert_clean(sent)


def test_nothing_is_started_without_a_dsn():
    observability.start_reporting("", environment="test")
    assert not sentry_sdk.get_client().is_active()
