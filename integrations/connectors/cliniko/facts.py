"""Cliniko as facts: the account form, how its address is built, its limit, its refusals, what is never called.

Sources for every fact: README.md beside this file.
"""

import base64
import hashlib
import re
from collections.abc import Mapping

from integrations.connectors.base import Account, Connector, Credential
from integrations.connectors.cliniko.adjustments import STOCK_ADJUSTMENTS
from integrations.connectors.cliniko.invoices import INVOICES
from integrations.connectors.cliniko.patients import PATIENTS
from integrations.connectors.cliniko.probe import verify
from integrations.connectors.cliniko.products import PRODUCTS
from integrations.connectors.cliniko.stock import STOCK
from integrations.toolkit.addresses import https_origin
from integrations.toolkit.http import Limit, LimitStyle
from integrations.toolkit.refusals import ErrorRule, throttled_until

DEFAULT_SHARD = "au1"

_KEY = re.compile(r"[A-Za-z0-9+/=_.~-]{1,300}")
_SHARD = re.compile(r"[A-Za-z]{2}[0-9]{1,2}")
_CONTACT = re.compile(r"[A-Za-z0-9._%+'-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")


def shard_of(api_key: str) -> str:
    """The shard a key belongs to: ``KEY-au2`` -> ``au2``, a key without a suffix -> ``au1``.

    Raises ValueError with a sentence for anything that is not a key; the sentence never repeats it.
    """
    key = api_key.strip()
    if not _KEY.fullmatch(key):
        raise ValueError(
            "This does not look like a Cliniko API key: it may hold letters, digits and hyphens only. "
            "Copy it again from My Info in Cliniko."
        )
    _, hyphen, last = key.rpartition("-")
    return last.lower() if hyphen and _SHARD.fullmatch(last) else DEFAULT_SHARD


def contact_of(contact_email: str) -> str:
    """The contact address for the User-Agent. Raises ValueError with a sentence if it is not an e-mail address."""
    contact = contact_email.strip()
    if not _CONTACT.fullmatch(contact):
        raise ValueError("Cliniko asks for a contact e-mail address and may block requests without a valid one.")
    return contact


def normalise_account(_typed: str, credentials: Mapping[str, str]) -> str:
    """The shard: a key implies its account, whose own id is only known once "Test connection" has asked."""
    contact_of(credentials.get("contact_email", ""))
    return shard_of(credentials.get("api_key", ""))


def origin(account: Account) -> str:
    return https_origin(f"api.{shard_of(account.credentials['api_key'])}.cliniko.com", under="cliniko.com")


def headers(account: Account) -> Mapping[str, str]:
    key = account.credentials["api_key"].strip()
    return {
        "Accept": "application/json",
        "Authorization": "Basic " + base64.b64encode(f"{key}:".encode("ascii")).decode("ascii"),
        "User-Agent": f"Suture ({contact_of(account.credentials['contact_email'])})",
    }


def subject(account: Account) -> str:
    """Who owns the quota: the key's owner once probed, until then a fingerprint of the key."""
    known = account.facts.get("user_id")
    if known:
        return f"user:{known}"
    return "key:" + hashlib.sha256(account.credentials["api_key"].strip().encode()).hexdigest()[:24]


ERRORS: Mapping[int, ErrorRule] = {
    400: "cliniko.request.refused",
    401: "cliniko.auth.rejected",
    403: "cliniko.role.forbidden",
    404: "cliniko.record.absent",
    422: "cliniko.values.rejected",
    429: throttled_until("X-RateLimit-Reset", "cliniko.throttled"),
}

NEVER = tuple(
    f"/v1/{resource}"
    for resource in (
        "treatment_notes", "treatment_note_templates", "medical_alerts", "patient_attachments", "patient_forms",
        "patient_form_templates", "patient_cases", "recalls", "recall_types", "communications", "relationships",
        "letters", "body_charts", "signatures", "contacts", "referral_sources", "referral_source_types",
        "concession_types", "concession_prices", "attendees", "bookings", "appointments", "individual_appointments",
        "group_appointments", "waitlist_entries",
    )
)  # fmt: skip

CLINIKO = Connector(
    name="cliniko",
    label="Cliniko",
    credentials=(
        Credential(
            "api_key",
            "API key",
            secret=True,
            help="From My Info in Cliniko, under Manage API keys. A key can do all that its owner can do: make a user "
            "of its own for it, with the lowest role that sees patients.",
        ),
        Credential(
            "contact_email",
            "Contact e-mail",
            help="Sent with each request, as Cliniko asks, so that they can reach you before they block anything.",
        ),
    ),
    limit=Limit(LimitStyle.REQUESTS, amount=200, per_s=60),  # per user who owns the key, not per account
    streams=(PATIENTS, PRODUCTS, STOCK, INVOICES, STOCK_ADJUSTMENTS),
    normalise_account=normalise_account,
    origin=origin,
    headers=headers,
    verify=verify,
    subject=subject,
    errors=ERRORS,
    never=NEVER,
)
