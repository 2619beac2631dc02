"""Logs and error reports that cannot carry a person: what leaves is rebuilt from what is known to be harmless.

A log line is one line of JSON on standard error: event, ids, codes, durations. An error report is put together anew from an
allow-list. Exception messages are dropped, since libraries put rows, bodies and addresses into them; only errors that carry a
code of ours, and a few of Python's own that speak of code, keep their text.
"""

import logging
import logging.config
import re
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

DROPPED = "[dropped]"
MAX_FRAMES = 40

# Words that, anywhere in a key, say that its value is a person's or a secret.
_PRIVATE_KEY = re.compile(
    r"(e_?mail|phone|mobile|(first|last|full|family|given|middle|preferred|display|customer|patient|person|user)_?name|surname"
    r"|address|street|suburb|post_?code|zip|birth|dob\b|gender|medicare|note|body|payload|draft|content|value"
    r"|password|passcode|secret|token|api_?key|authori[sz]ation|cookie|signature|credential|sealed|hmac|dsn|otp"
    r"|headers?$|query|params|user_agent|\bip\b|remote_addr|sql)",
    re.IGNORECASE,
)
_PRIVATE_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\?[^\s\"'<>]*=[^\s\"'<>]*"), "?[query]"),
    (re.compile(r"(?i)\b(bearer|basic|token)\s+[\w.~+/=:-]{8,}"), r"\1 [secret]"),
    (re.compile(r"://[^/\s:@]+:[^/\s@]+@"), "://[secret]@"),
    (re.compile(r"[^\s@<>\"'(),;:=]+@[^\s@<>\"'(),;:=]+"), "[e-mail]"),
    (re.compile(r"\b(sh[a-z]{2,4}_\w{8,}|MS0\w{10,}|ey[\w-]{10,}\.[\w.-]+|pit-[\w-]{10,})"), "[secret]"),
    (re.compile(r"(?<![\w+/=-])(?=[\w+/=-]*\d)(?=[\w+/=-]*[A-Za-z])[\w+/=]{32,}(?![\w+/=-])"), "[secret]"),
    (re.compile(r"(?<![\w.])(\+\d|\(0|0\d)[\d ().-]{6,}\d(?!\w)"), "[phone]"),
)
_TELLING = (ImportError, NameError, AttributeError, TypeError)


def masked(text: str) -> str:
    """``text`` without e-mail addresses, phone numbers, tokens and query strings."""
    for pattern, stand_in in _PRIVATE_TEXT:
        text = pattern.sub(stand_in, text)
    return text


def scrubbed(value: object, key: str = "") -> object:
    """``value`` fit for a log: personal keys dropped, texts masked, containers walked, anything else named by its type."""
    if key and _PRIVATE_KEY.search(key):
        return DROPPED
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(name): scrubbed(part, str(name)) for name, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [scrubbed(part) for part in value]
        case _ if type(value).__str__ is object.__str__:  # would print an address in memory at best
            return type(value).__qualname__
    return masked(str(value))


# Exceptions without their messages


def told(error: BaseException) -> dict[str, object]:
    """An exception as class, code and places; its causes below it."""
    found: dict[str, object] = {"type": type(error).__qualname__, "at": _places(error.__traceback__)}
    if text := _safe_text(error):
        found["text"] = text
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        found["cause"] = told(cause)
    return found


def _safe_text(error: BaseException) -> str:
    if isinstance(getattr(error, "code", None), str) and isinstance(getattr(error, "facts", None), Mapping):
        return masked(str(error))
    return masked(str(error)) if isinstance(error, _TELLING) else ""


def _places(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-MAX_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


# Logs


def scrub_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The processor every line passes last, ours and every library's."""
    error = event.pop("exc_info", None)
    clean = {key: scrubbed(value, key) for key, value in event.items() if not key.startswith("_")}
    clean |= {
        key: value for key, value in event.items() if key.startswith("_")
    }  # structlog's own, removed by its formatter
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        clean["exception"] = told(error)
    return clean


def _caught_now(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn ``exc_info=True`` into the exception while it is still the current one."""
    if event.get("exc_info") is True:
        event["exc_info"] = sys.exc_info()[1]
    return event


_SHARED: tuple[Callable[..., Any], ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    _caught_now,
    scrub_event,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def logging_settings(level: str) -> dict[str, Any]:
    """Django's LOGGING: one JSON line per event on standard error; standard output belongs to ``--json``."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(default=repr_of_type),
                ],
                # A library's traceback would be appended as text, message included.
                "keep_exc_info": False,
                "pass_foreign_args": False,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            name: {"handlers": ["stderr"], "level": level, "propagate": False}
            for name in ("django", "django.server", "django-q")
        }
        | {
            # These name hosts, queries and rows at their lower levels.
            name: {"level": "WARNING"}
            for name in ("urllib3", "django.db.backends", "psycopg", "django_structlog.middlewares")
        },
    }


def repr_of_type(value: object) -> str:
    return type(value).__qualname__


def configure_logging(settings: dict[str, Any]) -> None:
    """What Django calls with LOGGING at start."""
    logging.config.dictConfig(settings)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


# Error reports

# Ids and codes that help to find the place; everything else about the event is left out.
REPORTED_TAGS = frozenset(
    {
        "code",
        "tenant_id",
        "connection_id",
        "flow_id",
        "run_id",
        "delivery_id",
        "connector",
        "stream",
        "task",
        "command",
        "request_id",
    }
)
_PLAIN = ("event_id", "timestamp", "level", "platform", "release", "environment", "logger", "sdk")
_FRAME = ("filename", "abs_path", "module", "function", "lineno", "in_app")
_VIEW_NAME = re.compile(r"[A-Za-z_][\w.]*")


def start_reporting(dsn: str, *, environment: str) -> None:
    """Send error reports to ``dsn``; without one nothing is loaded, nothing is sent."""
    if not dsn:
        return
    import sentry_sdk  # noqa: PLC0415 - a tenth of a second that a command without reports need not spend

    sentry_sdk.init(dsn, environment=environment, **report_options())


def report_options() -> dict[str, Any]:
    """Collect as little as can be told to the library (personal data is off unless asked for), then rebuild the rest."""
    return {
        "include_local_variables": False,
        "max_request_body_size": "never",
        "max_breadcrumbs": 0,
        "server_name": "suture",
        "traces_sample_rate": None,
        "profiles_sample_rate": None,
        "auto_session_tracking": False,
        "propagate_traces": False,
        "before_breadcrumb": lambda _crumb, _hint: None,
        "before_send": rebuilt,
        "before_send_transaction": lambda _event, _hint: None,
    }


def rebuilt(event: "Event", hint: "Hint") -> "Event":
    """A new event that holds what is on the allow-list, and nothing that merely was not thought of."""
    source: Mapping[str, Any] = event
    report: dict[str, Any] = {name: source[name] for name in _PLAIN if name in source}
    tags = source.get("tags") or {}
    report["tags"] = {str(name): masked(str(tags[name])) for name in tags if name in REPORTED_TAGS}
    view = str(source.get("transaction") or "")
    if _VIEW_NAME.fullmatch(view):  # a dotted name; a path would carry keys
        report["transaction"] = view
    errors = _chain((hint.get("exc_info") or (None, None, None))[1])
    values = (source.get("exception") or {}).get("values") or []
    if values:
        report["exception"] = {"values": [_rebuilt_value(value, errors) for value in values]}
    else:
        report["message"] = f"logged by {source.get('logger') or 'an unnamed logger'}"
    return report  # type: ignore[return-value]  # built from the event's own keys


def _rebuilt_value(value: Mapping[str, Any], errors: Mapping[str, BaseException]) -> dict[str, Any]:
    error = errors.get(str(value.get("type")))
    frames = ((value.get("stacktrace") or {}).get("frames") or [])[-MAX_FRAMES:]
    return {
        "type": value.get("type"),
        "module": value.get("module"),
        "value": _safe_text(error) if error is not None else "",
        "stacktrace": {"frames": [{name: frame[name] for name in _FRAME if name in frame} for frame in frames]},
    }


def _chain(error: BaseException | None) -> dict[str, BaseException]:
    found: dict[str, BaseException] = {}
    while error is not None and type(error).__name__ not in found:
        found[type(error).__name__] = error
        error = error.__cause__ or error.__context__
    return found
