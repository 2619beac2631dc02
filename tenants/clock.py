"""One clock for leases and due times: the database's, which tests may move.

SQL `app_now()` is `clock_timestamp()` unless the `Clock` table holds a row (moved for every process, by the owner) or
the session sets `app.clock_offset` (moved for this connection alone).
"""

from datetime import datetime, timedelta

from django.db import connection, models
from django.db.models.expressions import Func

CREATE_APP_NOW = """
CREATE FUNCTION app_now() RETURNS timestamptz LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN COALESCE((SELECT shows + (clock_timestamp() - moved_at) * rate FROM public.tenants_clock), clock_timestamp())
         + COALESCE(NULLIF(current_setting('app.clock_offset', true), ''), '0')::interval;
END
$$
"""
DROP_APP_NOW = "DROP FUNCTION app_now()"


class AppNow(Func):
    """`app_now()` inside a query."""

    function = "app_now"
    arity = 0
    output_field = models.DateTimeField()


def app_now() -> datetime:
    """What the database's clock shows, aware."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT app_now()")
        (now,) = cursor.fetchone()
    assert isinstance(now, datetime)  # noqa: S101 - narrows the driver's untyped row
    return now


def move_clock(by: timedelta) -> None:
    """Tests only: moves `app_now()` for this connection; zero puts it back."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.clock_offset', %s, false)", [f"{by.total_seconds()} seconds"])
