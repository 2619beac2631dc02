"""Named duties, each held by one holder for a time: the pulse, a doorbell that was rung, a task at work; and rows that hold
their own lease (``lease_until``, ``not_before``, ``fence``, ``crashes``)."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection as database
from django.db.models import F, QuerySet

from tenants.models import Lease
from tenants.walls import app_now, system_tx


def lease_end(now: datetime) -> datetime:
    """Until when a row is held that is claimed, or renewed, now."""
    return now + timedelta(seconds=settings.SUTURE_LEASE_S)


def claim(rows: QuerySet[Any], now: datetime) -> bool:
    """Takes the lease of the row among ``rows`` by one conditional update; False while another holds it, and before it is
    due. Counts as a crash until whoever took it takes that back."""
    free = rows.exclude(lease_until__gt=now).exclude(not_before__gt=now)
    return bool(free.update(lease_until=lease_end(now), fence=F("fence") + 1, crashes=F("crashes") + 1))


def take(name: str, holder: str, *, seconds: float) -> bool:
    """Takes or renews a duty. False while another holds it."""
    with system_tx("lease"), database.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO tenants_lease AS held (name, holder, fence, expires_at) VALUES (%s, %s, 1, app_now() + make_interval(secs => %s))
            ON CONFLICT (name) DO UPDATE
            SET holder = excluded.holder, expires_at = excluded.expires_at,
                fence = held.fence + (held.holder <> excluded.holder)::int
            WHERE held.holder = excluded.holder OR held.expires_at <= app_now()
            """,
            [name, holder, seconds],
        )
        taken: int = cursor.rowcount
    return taken == 1


def hold(name: str, holder: str, *, seconds: float) -> None:
    """Takes a duty from whoever holds it: a task that starts answers the doorbell that was rung for it."""
    with system_tx("lease"), database.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO tenants_lease AS held (name, holder, fence, expires_at) VALUES (%s, %s, 1, app_now() + make_interval(secs => %s))
            ON CONFLICT (name) DO UPDATE
            SET holder = excluded.holder, expires_at = excluded.expires_at,
                fence = held.fence + (held.holder <> excluded.holder)::int
            """,
            [name, holder, seconds],
        )


def drop(name: str, holder: str = "") -> None:
    """Gives a duty back. With ``holder`` only if it is still that one's."""
    with system_tx("lease"):
        rows = Lease.objects.filter(name=name)
        (rows.filter(holder=holder) if holder else rows).delete()


def live(prefix: str) -> dict[str, str]:
    """Duties that are held now, name -> holder."""
    with system_tx("lease"):
        rows = Lease.objects.filter(name__startswith=prefix, expires_at__gt=app_now())
        return dict(rows.values_list("name", "holder"))


def count_since(prefix: str, *, seconds: float) -> int:
    """How many duties of this prefix were held at some moment of the last ``seconds``."""
    with system_tx("lease"):
        return Lease.objects.filter(
            name__startswith=prefix, expires_at__gt=app_now() - timedelta(seconds=seconds)
        ).count()


def age_s(name: str) -> float | None:
    """Seconds since the duty ran out (negative: still held), None when it never was."""
    with system_tx("lease"):
        expires = Lease.objects.filter(name=name).values_list("expires_at", flat=True).first()
        return None if expires is None else (app_now() - expires).total_seconds()


def forget_aged(prefix: str, *, seconds: float) -> int:
    """Removes duties that ran out so long ago: machines and tasks that never came back."""
    with system_tx("lease"):
        rows = Lease.objects.filter(name__startswith=prefix, expires_at__lt=app_now() - timedelta(seconds=seconds))
        return rows.delete()[0]
