"""Mails to people: claimed before they are sent, so that of several workers one sends it, and a crash between the two
loses it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from smtplib import SMTPException
from zoneinfo import ZoneInfo

from django.core.mail import EmailMessage, get_connection

from integrations.connectors import CONNECTORS

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Letter:
    """One piece of news for some people, in a mail or several. ``claim`` says whether it is still to be told, by us."""

    mails: Sequence[EmailMessage]
    claim: Callable[[], bool]


def send_claimed(letters: Sequence[Letter]) -> int:
    """Returns how many mails went out. While the mail server does not answer, or where there is nobody to tell, nothing
    is claimed and it stays due."""
    addressed = [letter for letter in letters if letter.mails]
    if not addressed:
        return 0
    server = get_connection()
    try:
        server.open()
        return sum(server.send_messages(letter.mails) or 0 for letter in addressed if letter.claim())
    except (OSError, SMTPException) as failure:
        logger.warning("alerts: the mail server does not take mails (%s)", type(failure).__name__)
        return 0
    finally:
        server.close()


def written(subject: str, lines: Sequence[str], people: Sequence[str]) -> EmailMessage:
    """A mail whose subject is one line, whatever names are in it."""
    return EmailMessage(subject=" ".join(subject.split()), body="\n".join(lines) + "\n", to=list(people))


def vendor_name(vendor: str) -> str:
    return CONNECTORS[vendor].label if vendor in CONNECTORS else vendor


def instant(moment: datetime, zone: str) -> str:
    """With its zone's name: 1 March 2026, 14:05 AEDT (Australia/Sydney)."""
    local = moment.astimezone(ZoneInfo(zone))
    return f"{local.day} {local:%B %Y, %H:%M %Z} ({zone})"
