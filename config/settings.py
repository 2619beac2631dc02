"""Every setting, from the environment alone; `.env.example` lists them all and a test compares.

Defaults are safe for a laptop. Nothing secret is made here: without ``DATABASE_URL`` it is ``manage.py`` that starts the
embedded database and fills the environment before this file is read (config/embedded.py).
"""

from pathlib import Path
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF

from config import observability

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

# Who and where we are

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
SUTURE_VAR = Path(env.str("SUTURE_VAR", default="") or BASE_DIR / "var").resolve()
SUTURE_BASE_URL = env.str("SUTURE_BASE_URL", default="http://localhost:8000").rstrip("/")
SUTURE_ENVIRONMENT = env.str("SUTURE_ENVIRONMENT", default="laptop")

_base = urlsplit(SUTURE_BASE_URL)
_is_https = _base.scheme == "https"

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[_base.hostname or "localhost"])
CSRF_TRUSTED_ORIGINS = [SUTURE_BASE_URL]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"  # pages show the clinic's zone; a local zone here makes every date filter warn
USE_TZ = True

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # the default config would replace admin.site; we have two sites of our own
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "unfold.contrib.import_export",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "hijack",
    "import_export",
    "django_q",
    "django_structlog",
    "csp",
    "tenants.apps.TenantsConfig",
    "integrations.apps.IntegrationsConfig",
    "reconciliation.apps.ReconciliationConfig",
    "config.apps.ConfigConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "config.headers.HeadersMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "hijack.middleware.HijackUserMiddleware",
    "tenants.middleware.PersonMiddleware",
    "tenants.acting.ActingLimits",
    "tenants.signin.SessionLimits",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.look.look",
            ],
        },
    },
]

# Database: `default` signs in as app_login and owns nothing; `owner` migrates and is there only where its URL is given.
# MIRROR copies the test database's name only, so that tests, too, are app_login.

DATABASES = {
    "default": env.db_url("DATABASE_URL", default="postgresql:///suture")
    | {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True},
}
if env.str("DATABASE_OWNER_URL", default=""):
    DATABASES["owner"] = env.db_url("DATABASE_OWNER_URL") | {"TEST": {"DEPENDENCIES": []}}
    DATABASES["default"]["TEST"] = {"MIRROR": "owner"}

# Sign-in

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # people are invited by the agency, which vouches for the address
ACCOUNT_UNIQUE_EMAIL = True
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Suture"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not _is_https  # a laptop's http://localhost
ACCOUNT_ADAPTER = "tenants.signin.AccountAdapter"
ACCOUNT_RATE_LIMITS = {"login": "30/m/ip", "login_failed": "20/m/ip,5/5m/key", "reauthenticate": "10/m/user"}
MFA_ADAPTER = "tenants.signin.SecondStepAdapter"
MFA_TOTP_TOLERANCE = 1  # one step of 30 s: telephones are late
HIJACK_INSERT_BEFORE = None  # the strip is part of our pages' frame

SESSION_COOKIE_AGE = 7 * 24 * 3600
SESSION_COOKIE_NAME = "__Host-session" if _is_https else "suture_session"
SESSION_COOKIE_SECURE = _is_https
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_EXPIRE_AT_BROWSER_CLOSE = False
CSRF_COOKIE_NAME = "__Host-csrf" if _is_https else "suture_csrf"
CSRF_COOKIE_SECURE = _is_https
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
# Idle and absolute ends of a session, by what the person may do.
SUTURE_AGENCY_IDLE_S = env.int("SUTURE_AGENCY_IDLE_S", default=30 * 60)
SUTURE_AGENCY_SESSION_S = env.int("SUTURE_AGENCY_SESSION_S", default=12 * 3600)
SUTURE_CLINIC_IDLE_S = env.int("SUTURE_CLINIC_IDLE_S", default=8 * 3600)
SUTURE_CLINIC_SESSION_S = env.int("SUTURE_CLINIC_SESSION_S", default=7 * 24 * 3600)
SUTURE_ACTING_S = env.int("SUTURE_ACTING_S", default=30 * 60)

# How the sites look; what is named here is in config/look.py

UNFOLD = {
    "SITE_TITLE": "Suture",
    "SITE_HEADER": "Suture",
    "SITE_SUBHEADER": "Agency",
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "STYLES": ["config.look.agency_style"],
    "DASHBOARD_CALLBACK": "config.dashboards.agency",
    "SIDEBAR": {"show_search": True, "command_search": True, "navigation": "config.look.agency_menu"},
}
UNFOLD_CLINIC = UNFOLD | {
    "SITE_SUBHEADER": "config.look.clinic_name",
    "STYLES": ["config.look.clinic_style"],
    "DASHBOARD_CALLBACK": "config.dashboards.clinic",
    "SIDEBAR": {"show_search": True, "command_search": True, "navigation": "config.look.clinic_menu"},
}

# The browser's side

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = _is_https
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if _is_https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _is_https
SECURE_HSTS_PRELOAD = _is_https
X_FRAME_OPTIONS = "DENY"
SUTURE_PROXY_COUNT = env.int("SUTURE_PROXY_COUNT", default=0)
if SUTURE_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    ALLAUTH_TRUSTED_PROXY_COUNT = SUTURE_PROXY_COUNT

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "style-src-elem": [SELF],
        "style-src-attr": ["'unsafe-inline'"],  # unfold's progress bars and calendars
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]  # first: our build of Alpine stands in for unfold's
SUTURE_STATIC_ROOT = env.str("SUTURE_STATIC_ROOT", default="")
STATIC_ROOT = SUTURE_STATIC_ROOT or None
WHITENOISE_USE_FINDERS = (
    not SUTURE_STATIC_ROOT
)  # a laptop serves from the packages, production what collectstatic gathered
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if SUTURE_STATIC_ROOT
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 2**20
FILE_UPLOAD_MAX_MEMORY_SIZE = 5 * 2**20

vars().update(env.email_url("EMAIL_URL", default="consolemail://"))
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="suture@localhost")

# Queue: the doorbell. A start-up check refuses a worse set. The database broker is the default, because
# the Redis one loses the doorbells in flight when it is killed.

SUTURE_QUEUE_REDIS_URL = env.str("SUTURE_QUEUE_REDIS_URL", default="")
SUTURE_WORKERS = env.int("SUTURE_WORKERS", default=4)
Q_CLUSTER = {
    "name": "suture",
    "label": "Queue",
    "workers": SUTURE_WORKERS,
    "timeout": 60,
    "retry": 240,
    "queue_limit": 1,
    "bulk": 1,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "save_limit": -1,
    "scheduler": False,  # what is due is our data; the pulse rings for it
    "poll": 1,  # seconds; a doorbell is heard at once, this only finds those whose notification was lost
    "guard_cycle": 1,
} | (
    {"redis": SUTURE_QUEUE_REDIS_URL}
    if SUTURE_QUEUE_REDIS_URL
    else {"orm": "default", "broker_class": "integrations.doorbell.Doorbell"}
)

# Sign-in throttles count here: shared between processes where there is a Redis.
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": SUTURE_QUEUE_REDIS_URL}
    if SUTURE_QUEUE_REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
}

# Secrets: `id:base64 of 32 bytes`, comma separated; the first seals, all open.

SUTURE_KEY_RING = env.list("SUTURE_KEY_RING", default=[])

# Stand-ins for the vendors; refused without SUTURE_SANDBOX.

SUTURE_SANDBOX = env.bool("SUTURE_SANDBOX", default=False)
SUTURE_VENDOR_URLS = env.dict("SUTURE_VENDOR_URLS", default={})

# Durations and sizes of the sync, in seconds unless the name says otherwise

SUTURE_CALL_S = env.float("SUTURE_CALL_S", default=20)
SUTURE_CONNECT_S = env.float("SUTURE_CONNECT_S", default=5)
SUTURE_READ_S = env.float("SUTURE_READ_S", default=15)
SUTURE_SLICE_S = env.float("SUTURE_SLICE_S", default=30)
SUTURE_TASK_S = env.float("SUTURE_TASK_S", default=60)
SUTURE_LEASE_S = env.float("SUTURE_LEASE_S", default=120)
SUTURE_SETTLE_S = env.float("SUTURE_SETTLE_S", default=60)
SUTURE_SETTLE_LOOKS = env.int("SUTURE_SETTLE_LOOKS", default=2)
SUTURE_BACKOFF_BASE_S = env.float("SUTURE_BACKOFF_BASE_S", default=30)
SUTURE_BACKOFF_CAP_S = env.float("SUTURE_BACKOFF_CAP_S", default=3600)
SUTURE_PARENT_WAIT_S = env.float("SUTURE_PARENT_WAIT_S", default=5)
SUTURE_LOOK_AFTER_S = env.float("SUTURE_LOOK_AFTER_S", default=5)
SUTURE_PAUSED_RETRY_S = env.float("SUTURE_PAUSED_RETRY_S", default=300)
SUTURE_QUOTA_PATIENCE_S = env.float("SUTURE_QUOTA_PATIENCE_S", default=25)
SUTURE_MAX_TRIES = env.int("SUTURE_MAX_TRIES", default=8)
SUTURE_CRASH_TRIES = env.int("SUTURE_CRASH_TRIES", default=3)
SUTURE_BREAKER_FAILURES = env.int("SUTURE_BREAKER_FAILURES", default=5)
SUTURE_OVERLAP_S = env.float("SUTURE_OVERLAP_S", default=120)
SUTURE_POLL_FAST_S = env.float("SUTURE_POLL_FAST_S", default=5)
SUTURE_POLL_SLOW_S = env.float("SUTURE_POLL_SLOW_S", default=10)
SUTURE_POLL_SHARE = env.float("SUTURE_POLL_SHARE", default=0.75)
SUTURE_SWEEP_EVERY_S = env.float("SUTURE_SWEEP_EVERY_S", default=24 * 3600)
SUTURE_SWEEP_BACK_S = env.float("SUTURE_SWEEP_BACK_S", default=48 * 3600)
SUTURE_MAX_WAIT_S = env.float("SUTURE_MAX_WAIT_S", default=600)
SUTURE_PULSE_S = env.float("SUTURE_PULSE_S", default=1)
SUTURE_PULSE_LEASE_S = env.float("SUTURE_PULSE_LEASE_S", default=15)
SUTURE_RING_AGAIN_S = env.float("SUTURE_RING_AGAIN_S", default=30)
SUTURE_CANARY_EVERY_S = env.float("SUTURE_CANARY_EVERY_S", default=15)
SUTURE_CANARY_LATE_S = env.float("SUTURE_CANARY_LATE_S", default=60)
SUTURE_INCIDENT_WINDOW_S = env.float("SUTURE_INCIDENT_WINDOW_S", default=120)
SUTURE_STOP_S = env.float("SUTURE_STOP_S", default=60)
SUTURE_CLAIM_BATCH = env.int("SUTURE_CLAIM_BATCH", default=50)
SUTURE_BULK_FROM = env.int("SUTURE_BULK_FROM", default=1000)
SUTURE_BULK_ROWS = env.int("SUTURE_BULK_ROWS", default=50_000)
SUTURE_BULK_ROWS_PER_S = env.float("SUTURE_BULK_ROWS_PER_S", default=500)
SUTURE_FAIR_SHARE = env.float("SUTURE_FAIR_SHARE", default=0.5)
SUTURE_MASS_CHANGE_COUNT = env.int("SUTURE_MASS_CHANGE_COUNT", default=10)
SUTURE_MASS_CHANGE_PERCENT = env.float("SUTURE_MASS_CHANGE_PERCENT", default=5)
SUTURE_FLIPS_PER_HOUR = env.int("SUTURE_FLIPS_PER_HOUR", default=4)
SUTURE_BLUEPRINT_WAIT_S = env.int("SUTURE_BLUEPRINT_WAIT_S", default=24 * 3600)
SUTURE_REHEARSAL_DAYS = env.int("SUTURE_REHEARSAL_DAYS", default=30)
SUTURE_REHEARSAL_RECORDS = env.int("SUTURE_REHEARSAL_RECORDS", default=10_000)
SUTURE_ESCALATE_DAYS = env.int("SUTURE_ESCALATE_DAYS", default=14)
SUTURE_CANARY_RECORDS = env.int("SUTURE_CANARY_RECORDS", default=5)
SUTURE_WATCH_EVERY_S = env.float("SUTURE_WATCH_EVERY_S", default=300)
SUTURE_RECORDS_ALERT = env.int("SUTURE_RECORDS_ALERT", default=25)

# How long things are kept, in days

SUTURE_KEEP_LOG_DAYS = env.int("SUTURE_KEEP_LOG_DAYS", default=30)
SUTURE_KEEP_RUN_DAYS = env.int("SUTURE_KEEP_RUN_DAYS", default=90)
SUTURE_KEEP_DONE_DAYS = env.int("SUTURE_KEEP_DONE_DAYS", default=30)
SUTURE_KEEP_METER_DAYS = env.int("SUTURE_KEEP_METER_DAYS", default=400)
SUTURE_KEEP_PREIMAGE_DAYS = env.int("SUTURE_KEEP_PREIMAGE_DAYS", default=30)

# Repairs: a larger one takes a second person, and one that nobody approves lapses
SUTURE_REPAIR_ALONE_MAX = env.int("SUTURE_REPAIR_ALONE_MAX", default=50)
SUTURE_REPAIR_WAIT_DAYS = env.int("SUTURE_REPAIR_WAIT_DAYS", default=7)

# How many days a mailed link to a report may be opened
SUTURE_REPORT_LINK_DAYS = env.int("SUTURE_REPORT_LINK_DAYS", default=7)

# Logs and error reports

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOGGING_CONFIG = "config.observability.configure_logging"
LOGGING = observability.logging_settings(LOG_LEVEL)
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
SENTRY_DSN = env.str("SENTRY_DSN", default="")
observability.start_reporting(SENTRY_DSN, environment=SUTURE_ENVIRONMENT)
