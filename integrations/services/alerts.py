"""Alerts: opened when a connection stops, told once, ended when what failed works again.

Whether a connection works is not asked here: ``connections`` says so. Nor who tells of it: ``incidents`` looks at all
clinics, and leaves to a clinic's alert what is its alone.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Q
from django.urls import reverse
from django.utils.http import urlencode

from integrations.flows import FLOW_KINDS
from integrations.messages import Fix, Owner, message, reason_said
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


def open_flow_alert(
    flow_id: int, code: str, now: datetime, *, field: str = "", records: int = 0, call: Call = Call.RECORDS
) -> None:
    """That records of a flow wait, or stay away, unless that is known; then only how many. Inside the clinic's scope."""
    known = Alert.objects.filter(flow_id=flow_id, code=code[:60], field=field[:60], ended_at=None)
    if known.update(records=records):
        return
    alert = Alert(
        tenant_id=current_tenant_id(),
        flow_id=flow_id,
        code=code[:60],
        field=field[:60],
        records=records,
        call=call,
        opened_at=now,
    )
    Alert.objects.bulk_create([alert], ignore_conflicts=True)


def end_flow_alerts(alerts: Iterable[int], now: datetime) -> None:
    """Ends these, silently: the error desk and its digest show what is left. Inside the clinic's scope."""
    Alert.objects.filter(pk__in=list(alerts), ended_at=None).update(ended_at=now, end_told_at=now)


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
        rows = Alert.objects.filter(UNTOLD).select_related("connection", "tenant", "flow")
        due = list(rows.order_by("opened_at"))
    return send_claimed([_letter(alert) for alert in due])


def _letter(alert: Alert) -> Letter:
    people = _people(alert)
    return Letter([_mail(alert, people)] if people else [], partial(_claim, alert))


def _claim(alert: Alert) -> bool:
    """Somebody else may have sent it, or it may be over."""
    now = app_now()
    with tenant_tx(alert.tenant_id, reason="tell"):
        row = Alert.objects.filter(UNTOLD, pk=alert.pk)
        if alert.ended_at is None:
            return bool(row.filter(ended_at=None).update(told_at=now))
        return bool(row.update(end_told_at=now))


def _people(alert: Alert) -> list[str]:
    """Who hears of it: the agency's owners and the staff that reach the clinic; its managers where it is theirs to mend,
    but not of records, which they have on their desk and in their digest."""
    roles = () if alert.telling == Telling.MANAGERS else (Role.AGENCY_OWNER, Role.AGENCY_STAFF)
    return addresses(alert.tenant, *roles, *_clinic_roles(alert))


def _clinic_roles(alert: Alert) -> Sequence[Role]:
    is_theirs = message(alert.code).owner is Owner.CLINIC and alert.flow_id is None
    return (Role.CLINIC_MANAGER,) if is_theirs else ()


def _mail(alert: Alert, people: list[str]) -> EmailMessage:
    told, zone = message(alert.code), alert.tenant.time_zone
    if alert.flow is not None:
        return _flow_mail(alert, people)
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


def _flow_mail(alert: Alert, people: list[str]) -> EmailMessage:
    told, zone = message(alert.code), alert.tenant.time_zone
    where = f"{alert.tenant}: {flow_label(alert.flow.name, alert.flow.kind)}"
    since = f"Since: {instant(alert.opened_at, zone)}"
    if alert.call == Call.SILENCE:
        page = reverse("agency:integrations_flow_change", args=[alert.flow_id])
        lines = [where, "", told.sentence, reason_said(alert.field), told.advice, "", since]
        lines += [f"The flow's page: {settings.SUTURE_BASE_URL}{page}"]
        return written(f"{where} is unusually quiet", lines, people)
    said = "1 record waits" if alert.records == 1 else f"{alert.records:,} records wait"
    lines = [where, "", f"{said}: {told.sentence}", told.advice, "", since]
    lines += [f"The records that wait: {settings.SUTURE_BASE_URL}{desk_page(alert)}"]
    return written(f"{where}: {said} for the same reason", lines, people)


def flow_label(name: str, kind: str) -> str:
    """What its kind is called, unless the clinic gave the flow a name of its own."""
    return FLOW_KINDS[kind].label if name == kind and kind in FLOW_KINDS else name


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
