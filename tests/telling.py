"""Telling at once: nobody waits for other clinics with the same fault."""

from integrations.services import alerts, incidents


def tell(tenant_id: int) -> int:
    """What concerns the agency, then what is the clinic's own; returns how many mails went out."""
    return incidents.tell(hurry={tenant_id}) + alerts.tell(tenant_id)
