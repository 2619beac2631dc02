"""Alerts: opened when a connection stops, told once, ended when what failed works again.

Whether a connection works is not asked here: ``connections`` says so. A mail is claimed before it is sent, so that of
several workers one sends it, and a crash between the two loses it.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from smtplib import SMTPException
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db.models import Q
from django.urls import reverse

from integrations.connectors import CONNECTORS
from integrations.messages import Fix, Owner, message
from integrations.models import IN_FLIGHT, UNTOLD, Alert, Call, Connection, Delivery, DeliveryState, Flow, Mode
from tenants.models import Role, Tenant
from tenants.people import addresses
from tenants.walls import app_now, current_tenant_id, tenant_tx

logger = logging.getLogger(__name__)

# What a success proves: whoever writes has looked first.
PROVEN_BY: dict[Call, tuple[Call, ...]] = {
    Call.READ: (Call.READ, Call.TEST),
    Call.WRITE: (Call.READ, Call.WRITE, Call.TEST),
    Call.TEST: (Call.TEST,),
}


def open_alert(connection_id: int, code: str, call: Call, now: datetime) -> None:
    """Opens an alert unless one is open. An outage that turns into something a person must do is told anew; its own end
    is not. In the transaction that stopped the connection."""
    if message(code).fix is not Fix.WAIT:
        outages = [pk for pk, known in _open(connection_id).values_list("pk", "code") if message(known).fix is Fix.WAIT]
        Alert.objects.filter(pk__in=outages).update(ended_at=now, end_told_at=now)
    alert = Alert(tenant_id=current_tenant_id(), connection_id=connection_id, code=code[:60], call=call, opened_at=now)
    Alert.objects.bulk_create([alert], ignore_conflicts=True)


def end_alert(connection_id: int, call: Call, now: datetime) -> None:
    """Ends the open alert if a success of ``call`` proves that what failed works again.

    A good test proves the rest only where nothing is on its way that would try it.
    """
    proven = _open(connection_id)
    if call is not Call.TEST or _will_be_tried(connection_id):
        proven = proven.filter(call__in=PROVEN_BY[call])
    proven.update(ended_at=now)


def _open(connection_id: int) -> Any:
    return Alert.objects.filter(connection_id=connection_id, ended_at=None)


def _will_be_tried(connection_id: int) -> bool:
    """Whether a flow reads from the connection, or a delivery to it is due some time."""
    reads = Flow.objects.filter(source_id=connection_id, stopped_code="").exclude(mode=Mode.OFF)
    waits = Q(state__in=(DeliveryState.WAITING, *IN_FLIGHT), guarded=False)
    return reads.exists() or Delivery.objects.filter(waits, target_id=connection_id).exists()


# Telling


def tell(tenant_id: int) -> int:
    """Sends what a clinic's people have not heard yet; returns how many mails went out.

    While the mail server does not answer, or where there is nobody to tell, nothing is claimed and it stays due.
    """
    with tenant_tx(tenant_id, reason="tell"):
        due = list(Alert.objects.filter(UNTOLD).select_related("connection", "tenant").order_by("opened_at"))
    if not due:
        return 0
    post = get_connection()
    try:
        post.open()
        return sum(_send(post, alert) for alert in due)
    except (OSError, SMTPException) as failure:
        logger.warning("alerts: the mail server does not take mails (%s)", type(failure).__name__)
        return 0
    finally:
        post.close()


def _send(post: Any, alert: Alert) -> bool:
    """One mail, claimed first: somebody else may have sent it, or it may be over."""
    people = _people(alert)
    if not people or not _claim(alert):
        return False
    written = _mail(alert, people)
    return bool(post.send_messages([written]))


def _claim(alert: Alert) -> bool:
    now = app_now()
    with tenant_tx(alert.tenant_id, reason="tell"):
        row = Alert.objects.filter(UNTOLD, pk=alert.pk)
        if alert.ended_at is None:
            return bool(row.filter(ended_at=None).update(told_at=now))
        return bool(row.update(end_told_at=now))


def _people(alert: Alert) -> list[str]:
    """Who hears of it: the agency's owners and the staff that reach the clinic; its managers where it is theirs to mend."""
    return addresses(alert.tenant, Role.AGENCY_OWNER, Role.AGENCY_STAFF, *_clinic_roles(alert))


def _clinic_roles(alert: Alert) -> Sequence[Role]:
    return (Role.CLINIC_MANAGER,) if message(alert.code).owner is Owner.CLINIC else ()


def _mail(alert: Alert, people: list[str]) -> EmailMessage:
    told, where = message(alert.code), f"{alert.tenant}: {_named(alert.connection)}"
    if alert.ended_at is None:
        subject = f"{where} has stopped"
        lines = [told.sentence, told.advice, "", f"Since: {_instant(alert.opened_at, alert.tenant)}"]
    else:
        subject = f"{where} works again"
        lines = ["What had failed has worked again. What waited goes on by itself."]
        lines += ["", f"It had stopped: {_instant(alert.opened_at, alert.tenant)}", f"({told.sentence})"]
        lines += [f"It works since: {_instant(alert.ended_at, alert.tenant)}"]
    lines = [where, "", *lines, *_links(alert)]
    return EmailMessage(subject=" ".join(subject.split()), body="\n".join(lines) + "\n", to=people)


def _named(connection: Connection) -> str:
    vendor = CONNECTORS[connection.vendor].label if connection.vendor in CONNECTORS else connection.vendor
    return vendor if str(connection) == vendor else f"{connection} ({vendor})"


def _instant(moment: datetime, clinic: Tenant) -> str:
    """In the clinic's zone, with its name: 1 March 2026, 14:05 AEDT (Australia/Sydney)."""
    local = moment.astimezone(ZoneInfo(clinic.time_zone))
    return f"{local.day} {local:%B %Y, %H:%M %Z} ({clinic.time_zone})"


def _links(alert: Alert) -> list[str]:
    """The connection's page, on the site of each who hears of it."""
    sites = {"agency": "The connection's page", "clinic": "For the clinic's manager"}
    if not _clinic_roles(alert):
        del sites["clinic"]
    pages = {site: reverse(f"{site}:integrations_connection_change", args=[alert.connection_id]) for site in sites}
    return [f"{words}: {settings.SUTURE_BASE_URL}{pages[site]}" for site, words in sites.items()]
