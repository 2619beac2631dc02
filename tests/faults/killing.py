"""Boundaries: where a process may die between one effect and the next. Test-only patches, none in the product."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper

from integrations.toolkit.http import HttpClient
from integrations.toolkit.wire import Wire
from tenants import scope
from tests.faults.theatre import in_child

Strike = Callable[[str], None]


class Killed(BaseException):
    """The process died here, as far as the code under test can tell."""


@contextmanager
def boundaries(strike: Strike) -> Iterator[None]:
    """Calls ``strike`` before and after every commit of a clinic's transaction, before every request, when the vendor
    has answered it, and when the answer was understood."""
    whole = (BaseDatabaseWrapper.commit, Wire.exchange, HttpClient._once, scope.enter_role)
    commit, exchange, once, enter_role = whole
    last = threading.local()  # what is read ahead enters scopes of its own

    def entering(database: BaseDatabaseWrapper, entered: scope.Scope) -> None:
        last.scope = entered
        enter_role(database, entered)

    def committing(self: BaseDatabaseWrapper) -> None:
        counts = isinstance(getattr(last, "scope", None), scope.TenantScope)
        if counts:
            try:
                strike("commit.before")
            except Killed:
                self.rollback()  # what the server does when the line breaks
                raise
        commit(self)
        if counts:
            strike("commit.after")

    def exchanging(self: Wire, *given: object) -> object:
        strike("send.before")
        answered = exchange(self, *given)  # type: ignore[arg-type]
        strike("send.after")
        return answered

    def calling(self: HttpClient, *given: object, **named: object) -> object:
        reply = once(self, *given, **named)  # type: ignore[arg-type]
        strike("answer.after")
        return reply

    BaseDatabaseWrapper.commit, Wire.exchange = committing, exchanging  # type: ignore[method-assign,assignment]
    HttpClient._once, scope.enter_role = calling, entering  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        BaseDatabaseWrapper.commit, Wire.exchange, HttpClient._once, scope.enter_role = whole  # type: ignore[method-assign]


class Counter:
    """Counts boundaries, and at the n-th (from 1; 0: never) does ``deed``."""

    def __init__(self, at: int, deed: Callable[[], None]) -> None:
        self.at, self.deed, self.count = at, deed, 0
        self.passed: list[str] = []

    def __call__(self, name: str) -> None:
        self.count += 1
        self.passed.append(name)
        if self.count == self.at:
            self.deed()


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def count_boundaries(work: Callable[[], object]) -> list[str]:
    """The boundaries that ``work`` crosses in a process of its own."""
    reading, writing = os.pipe()

    def counted() -> None:
        counter = Counter(0, kill_self)
        with boundaries(counter):
            work()
        os.write(writing, " ".join(counter.passed).encode())

    status = in_child(counted)
    os.close(writing)
    with os.fdopen(reading) as told:
        names = told.read().split()
    assert status == 0 and names
    return names


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Runs ``work`` in a process that dies by SIGKILL at its n-th boundary. False if it ended before that."""

    def doomed() -> None:
        with boundaries(Counter(number, kill_self)):
            work()

    status = in_child(doomed)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert status == 0
    return False
