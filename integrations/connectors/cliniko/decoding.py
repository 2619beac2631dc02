"""One patient, from Cliniko's JSON to a record. Clinical fields are left behind here, whoever asks for them."""

import re
from collections.abc import Callable, Sequence
from operator import itemgetter

from integrations.connectors.cliniko.rows import linked_key, row_key, state_of, version_of
from integrations.core.records import Record, State
from integrations.core.values import Value
from integrations.toolkit import payload
from integrations.toolkit.payload import Json

Decode = Callable[[Json], Record]

CUSTOM = "custom_fields."

TEXTS = (
    "first_name", "last_name", "preferred_first_name", "title", "email", "address_1", "address_2", "address_3",
    "city", "state", "post_code", "country_code", "country", "old_reference_id", "time_zone",
)  # fmt: skip
ANSWERS = ("accepted_email_marketing", "accepted_sms_marketing", "accepted_privacy_policy")

_NAMES = (*TEXTS, *ANSWERS)
_pick_texts = itemgetter(*TEXTS)
_pick_answers = itemgetter(*ANSWERS)
_ABSENT = object()
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


def custom_field_slug(name: str) -> str:
    """The stable spelling of a custom field's name: ``Referred by (GP)`` -> ``referred_by_gp``."""
    return _NOT_SLUG.sub("_", name.lower()).strip("_")


def decoder(fields: frozenset[str]) -> Decode:
    """A decoder for patients that also reads the custom fields named in ``fields`` and no others.

    It raises VendorChanged (``payload.shape``) for what does not fit; the caller decides whether that is one patient's
    fault or the whole answer's.
    """
    slugs = tuple(sorted(name.removeprefix(CUSTOM) for name in fields if name.startswith(CUSTOM)))

    def decode(row: Json) -> Record:
        key = patient_key(row)
        values = _plain_values(row)
        _add_phones(values, row)
        if slugs:
            _add_custom_fields(values, row, slugs)
        version, updated_at = version_of(row)
        created_at = payload.optional_instant(row, "created_at")
        state, changed_at = state_of(row, updated_at)
        if state is State.LIVE:
            return Record(key, version, values, changed_at=changed_at, created_at=created_at)
        merged_into = _merged_into(row, key)
        return Record(key, version, values, State.MERGED if merged_into else state, merged_into, changed_at, created_at)

    return decode


def patient_key(row: Json) -> str:
    """The patient's id as text. Raises VendorChanged if the row does not tell it."""
    return row_key(row, "patients")


def _plain_values(row: Json) -> dict[str, Value]:
    """Texts and answers. A row with every key there and of the right type, the usual one, takes the short way."""
    try:
        texts = [None if text is None else (text if text.strip() else None) for text in _pick_texts(row)]
        answers = _pick_answers(row)
    except (KeyError, AttributeError):
        return _checked_values(row)
    for answer in answers:
        if answer is not None and answer is not True and answer is not False:
            return _checked_values(row)
    return dict(zip(_NAMES, (*texts, *answers), strict=True))


def _checked_values(row: Json) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name in TEXTS:
        if name in row:
            text = payload.optional_text(row, name)
            values[name] = text if text and not text.isspace() else None
    for name in ANSWERS:
        if name in row:
            values[name] = payload.optional_flag(row, name)
    return values


def _add_phones(values: dict[str, Value], raw: Json) -> None:
    """``phone`` is the first mobile number as typed, else the first other one; never a fax."""
    rows = raw.get("patient_phone_numbers", _ABSENT)
    if rows is _ABSENT:
        return
    values["phone"] = values["phone_normalized"] = None
    if rows is None or rows == "":
        return
    for row in payload.as_objects(rows, "patient_phone_numbers"):
        kind = row.get("phone_type")
        if kind == "Fax" or (kind != "Mobile" and values["phone"] is not None):
            continue
        number, digits = _phone(row)
        if number is not None:
            values["phone"], values["phone_normalized"] = number, digits
            if kind == "Mobile":
                return


def _phone(row: Json) -> tuple[str | None, str | None]:
    number = payload.optional_text(row, "number", "patient_phone_numbers[]")
    digits = payload.optional_text(row, "normalized_number", "patient_phone_numbers[]")
    if number and not number.isspace():
        return number, digits
    return (f"+{digits}" if digits else None), digits


def _add_custom_fields(values: dict[str, Value], raw: Json, slugs: Sequence[str]) -> None:
    """Cliniko leaves empty custom fields out, so one that was asked for and is not there is empty."""
    found = raw.get("custom_fields", _ABSENT)
    if found is _ABSENT:
        return
    for slug in slugs:
        values[CUSTOM + slug] = None
    if found is None or found == "":
        return
    sections = payload.optional_items(payload.as_object(found, "custom_fields"), "sections", "custom_fields")
    for field in _live(sections):
        name = CUSTOM + custom_field_slug(payload.optional_text(field, "name", "custom_fields[]") or "")
        if name in values and values[name] is None:
            values[name] = _custom_value(field)


def _live(sections: Sequence[Json]) -> list[Json]:
    """Fields that are not archived, of sections that are not archived."""
    fields = [
        field
        for section in sections
        if not section.get("archived")
        for field in payload.optional_items(section, "fields", "custom_fields.sections[]")
    ]
    return [field for field in fields if not field.get("archived")]


def _custom_value(field: Json) -> str | None:
    """Text as it is; the names of what is selected for radio buttons and checkboxes."""
    at = "custom_fields[]"
    if field.get("type") not in ("checkboxes", "radiobuttons"):
        text = payload.optional_text(field, "value", at)
        return text if text and not text.isspace() else None
    chosen = [
        payload.optional_text(option, "name", at)
        for option in payload.optional_items(field, "options", at)
        if option.get("selected") is True
    ]
    other = payload.optional_obj(field, "other", at)
    if other is not None and other.get("selected") is True:
        chosen.append(payload.optional_text(other, "value", at))
    return ", ".join(name for name in chosen if name) or None


def _merged_into(row: Json, key: str) -> str:
    """The surviving patient's id, ``""`` when the patient was not merged or the link leads nowhere else."""
    link = row.get("merged_with_patient") if row.get("merged_at") else None
    into = linked_key(link.get("links")) if isinstance(link, dict) else ""
    return into if into != key else ""
