"""Cliniko and Shopify: which fields flow, how records match, and what each clinic may decide."""

from collections.abc import Mapping, Sequence

from integrations.connectors.cliniko.decoding import custom_field_slug
from integrations.connectors.cliniko.patients import PATIENTS
from integrations.connectors.shopify.customers import CUSTOMERS
from integrations.core.matching import Matching, NaturalKey
from integrations.core.records import Note, OnConflict, Record
from integrations.core.rules import Choice, Context, FreeText, Rule
from integrations.core.values import Value
from integrations.flows.kind import Derived, FlowKind, Verdict
from integrations.toolkit.phones import e164

ADDRESS = ("address.address1", "address.address2", "address.city", "address.zip")
SHORTEST_NATIONAL = 4
AU_STATES = frozenset(("ACT", "NSW", "NT", "QLD", "SA", "TAS", "VIC", "WA"))
ADDRESS_ALL = (
    *ADDRESS,
    "address.firstName",
    "address.lastName",
    "address.company",
    "address.provinceCode",
    "address.countryCode",
)


def _lines_2_and_3(values: Mapping[str, Value], _: Context) -> Value:
    if not values.get("address_2") and not values.get("address_3"):
        return None
    lines = [str(values[name]).strip() for name in ("address_2", "address_3") if values.get(name)]
    return ", ".join(line for line in lines if line) or None


def _country(values: Mapping[str, Value], context: Context) -> Value:
    """The code, else the old free-text country, else the clinic's own."""
    return values.get("country_code") or values.get("country") or context.country


def _phone(values: Mapping[str, Value], context: Context) -> Value:
    """The number as typed, unless the practice system knows its country: ``021 123 4567`` of a patient in New Zealand
    is ``64211234567`` there, and somebody else's number here."""
    typed, known = values.get("phone"), values.get("phone_normalized")
    if not isinstance(typed, str) or not isinstance(known, str) or typed.strip().startswith("+"):
        return typed
    digits = typed if typed.isdigit() else "".join(char for char in typed if char.isdigit())
    national = digits.lstrip("0")
    fits = len(national) > SHORTEST_NATIONAL and known != national and known.endswith(national)
    return f"+{known}" if fits and e164(f"+{known}", context.country) else typed


def _no_privacy_consent(record: Record, context: Context) -> Verdict | None:
    """``false`` means the person refused; ``null`` that nobody asked, which the clinic judges."""
    accepted = record.values.get("accepted_privacy_policy")
    if accepted is False:
        return Verdict("skip", "record.privacy_refused")
    if accepted is None and context.settings["privacy_unknown"] == "skip":
        return Verdict("skip", "record.privacy_unknown")
    return None


def _missing_email(fields: Mapping[str, Value], context: Context) -> Verdict | None:
    if fields.get("email") or context.settings["missing_email"] == "create":
        return None
    return Verdict(context.settings["missing_email"], "record.email_missing")


def _no_name(fields: Mapping[str, Value], _: Context) -> Verdict | None:
    if fields.get("firstName") or fields.get("lastName"):
        return None
    return Verdict("hold", "record.name_missing")


def _finish(fields: dict[str, Value], context: Context) -> dict[str, Value]:
    """No address without a line of it, no consent without the channel it is for, no province the shop cannot know; and
    no company in the address that becomes one of the shop's."""
    if "company" in fields and context.settings["company_as"] == "b2b":
        fields.pop("address.company", None)
    if not any(fields.get(name) for name in ADDRESS) and not fields.get("address.company"):
        fields.update(dict.fromkeys(name for name in ADDRESS_ALL if name in fields))
    if "address.provinceCode" in fields and not _is_province(fields):
        fields["address.provinceCode"] = None
    for channel, consent in (("email", "emailMarketing"), ("phone", "smsMarketing")):
        if not fields.get(channel) and consent in fields:
            fields[consent] = None
    fields[f"tag.{context.settings['archived_tag']}"] = None
    return fields


def _is_province(fields: Mapping[str, Value]) -> bool:
    """Whether the shop can know the province: it refuses an address with one that it does not."""
    return fields.get("address.countryCode") == "AU" and fields["address.provinceCode"] in AU_STATES


def _gone(context: Context) -> Mapping[str, Value] | Verdict:
    choice = context.settings["archived"]
    if choice == "tag":
        return {f"tag.{context.settings['archived_tag']}": True}
    if choice == "disable_marketing":
        return {"emailMarketing": False, "smsMarketing": False}
    if choice == "hold":
        return Verdict("hold", "record.archived_ask")
    return Verdict("skip", "record.archived")


def _company(settings: Mapping[str, str]) -> Sequence[Rule]:
    name = settings.get("company_field", "").strip()
    if not name:
        return ()
    source = f"custom_fields.{custom_field_slug(name)}"
    targets = ("company", "address.company") if settings.get("company_as") == "b2b" else ("address.company",)
    return tuple(Rule(target, source, ("single_line",)) for target in targets)


def _applies(rule: Rule, context: Context) -> bool:
    """No company of the shop where the shop was not seen to keep any."""
    return rule.target != "company" or _has_companies(context)


def _has_companies(context: Context) -> bool:
    return context.target.get("b2b") == "yes"


def _company_told(fields: Mapping[str, Value], context: Context) -> Sequence[Note]:
    """The clinic wished for a company of the shop, and the shop has none to offer."""
    if context.settings["company_as"] != "b2b" or _has_companies(context) or not fields.get("address.company"):
        return ()
    return (Note("company.as_address", "address.company"),)


PATIENTS_TO_CUSTOMERS = FlowKind(
    name="patients-to-customers",
    label="Patients become customers",
    minutes_by_hand=3.0,
    source_vendor="cliniko",
    source=PATIENTS,
    target_vendor="shopify",
    target=CUSTOMERS,
    rules=(
        Rule("firstName", "first_name", ("single_line",)),
        Rule("lastName", "last_name", ("single_line",)),
        Rule("email", "email", ("email",)),
        Rule("phone", "phone_with_country", ("e164",), unusable="bad_phone"),
        Rule("address.firstName", "first_name", ("single_line",)),
        Rule("address.lastName", "last_name", ("single_line",)),
        Rule("address.address1", "address_1", ("single_line",)),
        Rule("address.address2", "address_2_and_3", ("single_line",)),
        Rule("address.city", "city", ("single_line",)),
        Rule("address.provinceCode", "state", ("au_state",)),
        Rule("address.zip", "post_code", ("single_line",)),
        Rule("address.countryCode", "country_or_default", ("country_code",)),
        Rule("emailMarketing", "accepted_email_marketing", conflict=OnConflict.TARGET_WINS),
        Rule("smsMarketing", "accepted_sms_marketing", conflict=OnConflict.TARGET_WINS),
    ),
    matching=Matching(
        marker="metafields.suture.cliniko_patient_id",
        natural=(
            NaturalKey("email", confirm="lastName", setting="shared_email", shared_code="match.shared_email"),
            NaturalKey("phone", confirm="lastName", setting="shared_phone", shared_code="match.shared_phone"),
        ),
        first="match_first",
    ),
    settings=(
        Choice(
            "missing_email",
            "Patient without an e-mail",
            (("hold", "Ask a person"), ("skip", "Leave out"), ("create", "Create without an e-mail")),
        ),
        Choice(
            "match_first",
            "E-mail and phone that find two different customers",
            (
                ("ask", "Ask a person"),
                ("email", "Take the one with the e-mail"),
                ("phone", "Take the one with the phone"),
            ),
            "Only customers with the same family name, who are nobody else's yet, are found at all.",
        ),
        Choice(
            "shared_email",
            "E-mail that belongs to another customer",
            (("hold", "Ask a person"), ("create", "Create without the e-mail")),
        ),
        Choice(
            "shared_phone",
            "Phone that belongs to another customer",
            (("drop", "Leave the phone out, with a note"), ("hold", "Ask a person")),
        ),
        Choice(
            "bad_phone",
            "Phone number that cannot be used",
            (("drop", "Leave the phone out, with a note"), ("hold", "Ask a person")),
        ),
        Choice(
            "archived",
            "Archived patient who already is a customer",
            (
                ("tag", "Add a tag"),
                ("ignore", "Do nothing"),
                ("disable_marketing", "Switch marketing off"),
                ("hold", "Ask a person"),
            ),
        ),
        FreeText(
            "archived_tag", "Tag for archived patients", "Customers and shop staff may see it.", default="inactive"
        ),
        Choice(
            "privacy_unknown",
            "Patient who has not answered the privacy question",
            (("allow", "Sync"), ("skip", "Leave out")),
        ),
        FreeText(
            "company_field",
            "Custom field that holds the company",
            "The name as it stands in the practice system. The agency owner must release it first.",
        ),
        Choice(
            "company_as",
            "What the company becomes",
            (("address", "Into the address"), ("b2b", "As a company of the shop, where its plan allows")),
            "Customers of a company of the shop are its contacts, and the shop can no longer merge them. A shop without "
            "companies gets the address.",
        ),
    ),
    derived=(
        Derived("address_2_and_3", "Address lines 2 and 3", _lines_2_and_3),
        Derived("phone_with_country", "Phone, with the country the practice system knows", _phone),
        Derived("country_or_default", "Country, else the clinic's", _country),
    ),
    refuse=(_no_privacy_consent,),
    check=(_no_name, _missing_email),
    finish=_finish,
    gone=_gone,
    asks={"record.email_missing": "email", "record.name_missing": "last_name"},
    extra_rules=_company,
    applies=_applies,
    tells=_company_told,
)
