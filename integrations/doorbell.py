"""The doorbell: the queue's broker on our database, which is woken instead of asking again and again.

A doorbell is a row and a NOTIFY; both come with the commit. Where no notification gets through (a pooler between us and
the database) the row is found by the poll, a second later. The supervisor hears a channel of its own: a task that ended
or a person who asks for a sync wakes the pulse.
"""

import os
import select
import signal
from collections.abc import Sequence
from typing import Any

from django.db import connections, transaction
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.conf import Conf

QUEUE_CHANNEL = "suture_doorbell"
PULSE_CHANNEL = "suture_pulse"
WORKER = "SUTURE_WORKER"
LIFELINE = "SUTURE_LIFELINE"

_NEXT = """
UPDATE django_q_ormq SET lock = %s
WHERE id = (SELECT id FROM django_q_ormq WHERE key = ANY(%s) AND lock <= %s ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, payload
"""


class Ear:
    """Hears one channel on this process's connection, also after it was opened anew."""

    def __init__(self, channel: str, alias: str = "default") -> None:
        self._channel, self._alias = channel, alias
        self._heard_on: object = None

    def listen(self) -> None:
        """What is notified from now on is heard, even if ``wait`` comes later."""
        database = connections[self._alias]
        database.ensure_connection()
        if self._heard_on is not database.connection:
            with database.cursor() as cursor:
                cursor.execute(f"LISTEN {self._channel}")
            self._heard_on = database.connection

    def wait(self, seconds: float) -> None:
        """Returns when something was notified, at the latest after ``seconds``. Raises psycopg's errors."""
        raw = connections[self._alias].connection
        for _ in raw.notifies(timeout=seconds, stop_after=1):
            pass


def notify(channel: str, alias: str = "default") -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"NOTIFY {channel}")


def wake_pulse() -> None:
    """The pulse looks for due work at once; inside a transaction, when that commits."""
    notify(PULSE_CHANNEL)


class Doorbell(ORM):
    """django-q2's database broker that hears of new rows. Each machine also has a queue of its own, for its canary."""

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key)
        self._ear = Ear(QUEUE_CHANNEL, Conf.ORM)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self._ear = Ear(QUEUE_CHANNEL, Conf.ORM)

    def enqueue(self, task: str) -> int:
        key: int = super().enqueue(task)
        notify(QUEUE_CHANNEL, Conf.ORM)
        return key

    def dequeue(self) -> Sequence[tuple[int, str]] | None:
        """The next doorbell, or None after at most a poll's time."""
        leave_with_supervisor()
        self.get_connection()  # closes one that is too old or broken
        self._ear.listen()
        if found := self._take():
            return found
        self._ear.wait(Conf.POLL)
        return self._take()

    def _take(self) -> Sequence[tuple[int, str]] | None:
        now = timezone.now()
        with connections[Conf.ORM].cursor() as cursor:
            cursor.execute(_NEXT, [self.timeout(None), [self.list_key, own_queue()], now])
            rows: list[tuple[int, str]] = cursor.fetchall()
        return rows or None


def own_queue(worker: str = "") -> str:
    """The queue that only this machine's cluster reads."""
    return f"{Conf.CLUSTER_NAME}@{worker or os.environ.get(WORKER, '')}"


def own_broker(worker: str) -> Doorbell | None:
    """A broker of that machine's own queue; None where another broker is configured, which has none."""
    return Doorbell(own_queue(worker)) if f"{__name__}.{Doorbell.__name__}" == Conf.BROKER_CLASS else None


def forget_own_queue(worker: str) -> None:
    if broker := own_broker(worker):
        with transaction.atomic():
            broker.purge_queue()


def leave_with_supervisor() -> None:
    """Ends this cluster when its supervisor is gone: nobody would restart it, and a new one brings its own.

    The supervisor holds the other end of a pipe; its death, however sudden, closes it.
    """
    lifeline = os.environ.get(LIFELINE, "")
    if not lifeline or not select.select([int(lifeline)], [], [], 0)[0]:
        return
    group = os.getpgrp()
    try:
        os.kill(group, signal.SIGTERM)
    except ProcessLookupError:  # the cluster's first process is gone as well
        os.killpg(group, signal.SIGKILL)
