"""Reports by mail: never the report itself, but a link for each manager of the clinic, who signs in to open it, once.

A clinic chooses when: each Monday, or the morning after a night that found something new, or never. Of a link only its
digest is kept. A mail is claimed before it is sent: it may be lost, and is never sent twice.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Sum
from django.urls import reverse

from integrations.services.mails import Letter, instant, send_claimed, written
from integrations.services.schedule import next_due
from integrations.words import name_of_flow
from reconciliation.models import MailEvery, Mailing, Report, ReportLink, ReportState
from reconciliation.summary import Line, lines
from reconciliation.words import as_percent
from tenants.models import Role, Tenant
from tenants.people import people_with
from tenants.walls import app_now, tenant_tx

CRON = {MailEvery.FINDINGS: "0 7 * * *", MailEvery.WEEKLY: "0 7 * * 1"}
"""In the clinic's zone: when its people come in."""
SECRET_BYTES = 32


def choose(clinic: Tenant, every: MailEvery, now: datetime) -> None:
    """When this clinic's managers hear from now on. Call inside the clinic's transaction."""
    due = _next(every, clinic, now) if every is MailEvery.WEEKLY else None
    Mailing.objects.update_or_create(
        tenant_id=clinic.pk, defaults={"every": every, "told_until": now, "next_due_at": due}
    )


def note_findings(clinic: Tenant, now: datetime) -> None:
    """A comparison found something new: told the next morning, with whatever else the night brings. In the transaction
    that ends the comparison."""
    waits = Mailing.objects.filter(every=MailEvery.FINDINGS, next_due_at=None)
    waits.update(next_due_at=_next(MailEvery.FINDINGS, clinic, now))


def _next(every: MailEvery, clinic: Tenant, now: datetime) -> datetime:
    return next_due(CRON[every], zone=clinic.time_zone, after=now, name=f"mail of {clinic.pk}")


def digest_of(secret: str) -> bytes:
    """What is kept of a link. Its secret is long and random, so a plain digest cannot be guessed back."""
    return hashlib.sha256(secret.encode()).digest()


@dataclass(frozen=True, slots=True)
class _News:
    """What a clinic hears. ``report`` is the one that found something, where it is one."""

    clinic: Tenant
    mailing: Mailing
    lines: Sequence[Line]
    found: int
    report: Report | None
    now: datetime

    @property
    def expires_at(self) -> datetime:
        return self.now + timedelta(days=settings.SUTURE_REPORT_LINK_DAYS)


def send_due(tenant_id: int, mailing_id: int) -> int:
    """Tells the clinic's managers, if it is time and there is something to tell; how many mails went out."""
    with tenant_tx(tenant_id, reason="mail report"):
        news = _news(tenant_id, mailing_id)
    if news is None:
        return 0
    people = people_with(news.clinic, Role.CLINIC_MANAGER)
    if not people:
        with tenant_tx(tenant_id, reason="mail report"):
            _claim(news)
        return 0
    keys = [(user_id, address, secrets.token_urlsafe(SECRET_BYTES)) for user_id, address in people]
    mails = [_mail(news, address, secret) for _, address, secret in keys]
    links = [(user_id, digest_of(secret)) for user_id, _, secret in keys]
    return send_claimed([Letter(mails, lambda: _keep(news, links))])


def _news(tenant_id: int, mailing_id: int) -> _News | None:
    """None where it is not time; where there is nothing to tell, the next time is set."""
    now = app_now()
    mailing = Mailing.objects.filter(pk=mailing_id, next_due_at__lte=now).exclude(every=MailEvery.OFF).first()
    if mailing is None:
        return None
    clinic = Tenant.objects.get(pk=tenant_id)
    done = Report.objects.filter(state=ReportState.DONE, finished_at__gt=mailing.told_until)
    newest = {report.flow_id: report for report in done.filter(found__gt=0).order_by("started_at")}
    found = done.aggregate(sum=Sum("found"))["sum"] or 0
    alone = next(iter(newest.values())) if len(newest) == 1 else None
    news = _News(clinic, mailing, lines(now), found, alone, now)
    if not done.exists() or (mailing.every == MailEvery.FINDINGS and not news.found):
        _claim(news)
        return None
    return news


def _claim(news: _News) -> bool:
    """By one conditional update: of several workers, one tells. Call inside the clinic's transaction."""
    is_weekly = news.mailing.every == MailEvery.WEEKLY
    due = _next(MailEvery.WEEKLY, news.clinic, news.now) if is_weekly else None
    mine = Mailing.objects.filter(pk=news.mailing.pk, every=news.mailing.every, next_due_at=news.mailing.next_due_at)
    return bool(mine.update(next_due_at=due, told_until=news.now))


def _keep(news: _News, links: Sequence[tuple[int, bytes]]) -> bool:
    """Claims the mail, and keeps what its links are known by."""
    with tenant_tx(news.clinic.pk, reason="mail report"):
        if not _claim(news):
            return False
        ReportLink.objects.bulk_create(
            ReportLink(
                tenant_id=news.clinic.pk,
                user_id=user_id,
                report=news.report,
                digest=digest,
                created_at=news.now,
                expires_at=news.expires_at,
            )
            for user_id, digest in links
        )
    return True


def _mail(news: _News, address: str, secret: str) -> EmailMessage:
    zone = news.clinic.time_zone
    link = settings.SUTURE_BASE_URL + reverse("report_link", args=[news.clinic.pk, secret])
    told = [
        f"{name_of_flow(line.flow.name)}: {as_percent(line.agreement)} agree, {line.open:,} records do not"
        for line in news.lines
        if line.agreement is not None
    ]
    text = [
        f"{news.clinic}: how far your systems agree",
        "",
        *told,
        "",
        f"New since the last mail: {news.found:,}",
        "",
        "The report, with what differs and what can be done:",
        link,
        f"The link is yours alone: it asks you to sign in, works once, and until {instant(news.expires_at, zone)}.",
        "",
        "How often this comes is chosen on the page of any report.",
    ]
    return written(f"{news.clinic}: how far your systems agree", text, [address])


def open_link(user_id: int, secret: str) -> ReportLink | None:
    """Uses the link up, for the person it was sent to; None for any other, and where it was used or is too old. Call inside
    the clinic's transaction."""
    now = app_now()
    mine = ReportLink.objects.filter(digest=digest_of(secret), user_id=user_id)
    if not mine.filter(used_at=None, expires_at__gt=now).update(used_at=now):
        return None
    link: ReportLink = mine.get()
    return link


def is_open(user_id: int, secret: str) -> bool:
    """Whether the link would still open for this person. Call inside the clinic's transaction."""
    mine = ReportLink.objects.filter(digest=digest_of(secret), user_id=user_id, used_at=None)
    return bool(mine.filter(expires_at__gt=app_now()).exists())


def remove_aged(now: datetime) -> int:
    """Links that nobody can open any more. Call inside the clinic's transaction."""
    return int(ReportLink.objects.filter(expires_at__lt=now - timedelta(days=1)).delete()[0])
