"""Several processes on one key and one shop: how much of what is allowed they use, seen from the vendors' side.

The vendors are our sandboxes. Clocks run faster, ratios stay true: a window of 60 s lasts ``60 / speed`` seconds there
and in our budget, and the shop's points come back ``speed`` times as fast.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO

from django.conf import settings

from integrations.bench.clinic import Clinic, open_clinic, set_budget
from integrations.connectors.cliniko import sandbox as practices
from integrations.connectors.cliniko.sandbox import ClinikoVendor
from integrations.connectors.cliniko.sandbox_people import fill
from integrations.connectors.cliniko.sandbox_world import ClinikoWorld
from integrations.connectors.sandbox_kit import Server, SlidingWindow
from integrations.connectors.shopify import sandbox as shops
from integrations.connectors.shopify.sandbox import ShopifyVendor
from integrations.toolkit.http import Limit, LimitStyle

SUBJECT = "campaign"
REQUESTS, WINDOW_S = 200, 60.0
POINTS, CAPACITY = 100.0, 2000.0
PROCESSES = 4


@dataclass(frozen=True, slots=True)
class Told:
    """What the journal says. ``share`` is what was used of what was allowed, the busiest window may hold ``limit``."""

    requests: int
    refused: int
    busiest: float
    limit: float
    share: float
    seconds: float


@dataclass(slots=True)
class Stage:
    """Both vendors, running, and where our processes find them."""

    practice: Server[ClinikoVendor]
    shop: Server[ShopifyVendor]
    speed: float

    @property
    def environment(self) -> Mapping[str, str]:
        urls = f"cliniko={self.practice.url},shopify={self.shop.url}/{{account}}"
        one_by_one = {"SUTURE_BULK_FROM": str(10**9)}  # bulk runs are not paid for in points
        return {"SUTURE_SANDBOX": "1", "SUTURE_VENDOR_URLS": urls, "SUTURE_QUOTA_PATIENCE_S": "25"} | one_by_one

    @property
    def window_s(self) -> float:
        return WINDOW_S / self.speed


@contextmanager
def stage(patients: int, *, speed: float) -> Iterator[Stage]:
    """A practice with so many patients and an empty shop, both at this speed."""
    with ExitStack() as stack:
        practice = stack.enter_context(practices.serve(seed=lambda world: _people(world, patients)))
        shop = stack.enter_context(shops.serve())
        practice.vendor.limit = SlidingWindow(REQUESTS, WINDOW_S / speed)
        shop.vendor.configure(SUBJECT, restore_rate=POINTS * speed, capacity=CAPACITY)
        set_budget("cliniko", SUBJECT, Limit(LimitStyle.REQUESTS, REQUESTS, WINDOW_S / speed))
        set_budget("shopify", SUBJECT, Limit(LimitStyle.POINTS, int(POINTS * speed), 1.0, int(CAPACITY)))
        yield Stage(practice, shop, speed)


def _people(world: ClinikoWorld, patients: int) -> None:
    world.add_account(f"bench-key-of-{SUBJECT}-au1", "Campaign")
    fill(world, patients)


def clinics(count: int, *, prefix: str = "campaign") -> list[Clinic]:
    """So many clinics that share the key and the shop, as one clinic entered several times would."""
    return [open_clinic(f"{prefix}-{number}", subject=SUBJECT) for number in range(count)]


def at_once(on: Stage, commands: Sequence[Sequence[str]], *, environment: Mapping[str, str], seconds: float) -> None:
    """Runs the commands beside each other, to their ends. Raises AssertionError when one fails or takes too long."""
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands]
        running = [
            stack.enter_context(_started(command, {**environment, **on.environment}, words))
            for command, words in zip(commands, files, strict=True)
        ]
        ends = time.monotonic() + seconds
        for child, words in zip(running, files, strict=True):
            child.wait(max(1.0, ends - time.monotonic()))
            if child.returncode:
                words.seek(0)
                raise AssertionError(words.read().decode()[-3000:])


@contextmanager
def _started(
    command: Sequence[str], environment: Mapping[str, str], words: IO[bytes]
) -> Iterator["subprocess.Popen[bytes]"]:
    child = subprocess.Popen(  # noqa: S603 - our own commands
        [sys.executable, *command],
        cwd=settings.BASE_DIR,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=words,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def requests_told(on: Stage) -> Told:
    """How the practice saw its window used, between the first and the last request."""
    journal = on.practice.journal
    taken = sorted(entry.at for entry in journal.entries() if entry.status != 429)
    seconds = taken[-1] - taken[0]
    share = (len(taken) - 1) / seconds / (REQUESTS / on.window_s)
    busiest = journal.busiest(on.window_s)
    return Told(len(taken), journal.count(429), busiest, REQUESTS, share, seconds)


def points_told(on: Stage) -> Told:
    """How the shop saw its points used, from the moment its bucket was first half empty: what a full bucket gives at
    the start would flatter us. ``busiest`` is the lowest level there was."""
    operations = [one for one in on.shop.vendor.operations if one.shop == SUBJECT]
    begun = next((number for number, one in enumerate(operations) if one.after < CAPACITY / 2), 0)
    steady = operations[begun:]
    seconds = steady[-1].at - steady[0].at
    spent = sum(one.actual or 0 for one in steady[1:])
    allowed = seconds * POINTS * on.speed + steady[0].after
    share = spent / allowed
    refused = sum(one.throttled for one in operations)
    return Told(len(operations), refused, min(one.after for one in operations), 0, share, seconds)
