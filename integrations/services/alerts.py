"""Alerts: opened when a connection stops, told once, ended when what failed works again.

Whether a connection works is not asked here: ``connections`` says so. Nor who tells of it: ``incidents`` looks at all
clinics, and leaves to a clinic's alert what is its alone.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Q
from django.urls import reverse
from django.utils.http import urlencode

from integrations.messages import Fix, Owner, message
from integrations.models import (
    IN_FLIGHT,
    UNTOLD,
    Alert,
    Call,
    Connection,
    Delivery,
    DeliveryState,
    Flow,
    Mode,
    Telling,
)
from integrations.services.mails import Letter, instant, send_claimed, vendor_name, written
from tenants.models import Role
from tenants.people import addresses
from tenants.walls import app_now, current_tenant_id, tenant_tx

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


def open_run_alert(run_id: int, code: str, now: datetime) -> None:
    """That a pass was stopped and a person must look at it, once a run. In the transaction that stopped it."""
    alert = Alert(tenant_id=current_tenant_id(), run_id=run_id, code=code[:60], call=Call.READ, opened_at=now)
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
    """Sends what a clinic's people have not heard yet of its own alerts; returns how many mails went out."""
    with tenant_tx(tenant_id, reason="tell"):
        rows = Alert.objects.filter(UNTOLD).select_related("connection", "tenant", "run__flow")
        due = list(rows.order_by("opened_at"))
    return send_claimed([_letter(alert) for alert in due])


def _letter(alert: Alert) -> Letter:
    people = _people(alert)
    return Letter([_mail(alert, people)] if people else [], partial(_claim, alert))


def _claim(alert: Alert) -> bool:
    """Somebody else may have sent it, or it may be over. What is about a run is over once it is told."""
    now = app_now()
    with tenant_tx(alert.tenant_id, reason="tell"):
        row = Alert.objects.filter(UNTOLD, pk=alert.pk)
        if alert.run_id is not None:
            return bool(row.update(told_at=now, ended_at=now, end_told_at=now))
        if alert.ended_at is None:
            return bool(row.filter(ended_at=None).update(told_at=now))
        return bool(row.update(end_told_at=now))


def _people(alert: Alert) -> list[str]:
    """Who hears of it: the agency's owners and the staff that reach the clinic; its managers where it is theirs to mend."""
    roles = () if alert.telling == Telling.MANAGERS else (Role.AGENCY_OWNER, Role.AGENCY_STAFF)
    return addresses(alert.tenant, *roles, *_clinic_roles(alert))


def _clinic_roles(alert: Alert) -> Sequence[Role]:
    return (Role.CLINIC_MANAGER,) if message(alert.code).owner is Owner.CLINIC else ()


def _mail(alert: Alert, people: list[str]) -> EmailMessage:
    told, zone = message(alert.code), alert.tenant.time_zone
    if alert.run is not None:
        where = f"{alert.tenant}: {alert.run.flow.name}"
        lines = [told.sentence, told.advice, "", f"Since: {instant(alert.opened_at, zone)}"]
        lines = [where, "", *lines, f"The records that wait: {settings.SUTURE_BASE_URL}{desk_page(alert)}"]
        return written(f"{where} waits for a person", lines, people)
    where = f"{alert.tenant}: {named(alert.connection)}"
    if alert.ended_at is None:
        subject = f"{where} has stopped"
        lines = [told.sentence, told.advice, "", f"Since: {instant(alert.opened_at, zone)}"]
    else:
        subject = f"{where} works again"
        lines = ["What had failed has worked again. What waited goes on by itself."]
        lines += ["", f"It had stopped: {instant(alert.opened_at, zone)}", f"({told.sentence})"]
        lines += [f"It works since: {instant(alert.ended_at, zone)}"]
    return written(subject, [where, "", *lines, *_links(alert)], people)


def named(connection: Connection) -> str:
    """As people know it: its own name, and whose system it is."""
    vendor = vendor_name(connection.vendor)
    return vendor if str(connection) == vendor else f"{connection} ({vendor})"


def desk_page(alert: Alert) -> str:
    """The error desk with the records of this clinic that wait for the same reason."""
    asked = urlencode({"code": alert.code, "clinic": alert.tenant.slug})
    return f"{reverse('agency:integrations_delivery_changelist')}?{asked}"


def _links(alert: Alert) -> list[str]:
    """The connection's page, on the site of each who hears of it."""
    sites = {"agency": "The connection's page", "clinic": "For the clinic's manager"}
    if not _clinic_roles(alert):
        del sites["clinic"]
    pages = {site: reverse(f"{site}:integrations_connection_change", args=[alert.connection_id]) for site in sites}
    return [f"{words}: {settings.SUTURE_BASE_URL}{pages[site]}" for site, words in sites.items()]
