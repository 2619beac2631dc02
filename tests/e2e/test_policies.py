"""The flow's decisions, each shown end to end: settings, modes, archives, merges, consent, matching, what never leaves."""

from collections.abc import Iterator

import pytest

from integrations.connectors.cliniko import sandbox_people
from integrations.models import Connection, Flow, SyncLogEntry
from integrations.services import connections
from tenants.models import Tenant
from tenants.walls import tenant_tx
from tests.stage import SHOP, Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

MIA = {"first_name": "Mia", "last_name": "Chen", "email": "mia@example.com", "accepted_privacy_policy": True}


@pytest.fixture
def on_stage(harbour: Tenant) -> Iterator[Stage]:
    with stage(harbour) as built:
        open_wide(built)
        yield built


def only_customer(on_stage: Stage) -> dict:
    (customer,) = on_stage.customers()
    return customer


def reread(on_stage: Stage, **settings: str) -> dict[str, int]:
    """The flow with other settings, over everything."""
    on_stage.set_flow(settings=settings)
    return on_stage.sync()


# -- missing and shared keys


def test_a_patient_without_an_email_waits_for_a_person_by_default(on_stage: Stage):
    key = on_stage.world.add_patient(**MIA | {"email": None})
    assert on_stage.sync()["held"] == 1
    assert on_stage.held() == {key: "record.email_missing"}


@pytest.mark.parametrize(("choice", "bucket", "made"), [("skip", "skipped", 0), ("create", "created", 1)])
def test_a_missing_email_may_be_skipped_or_created_without(on_stage: Stage, choice, bucket, made):
    on_stage.world.add_patient(**MIA | {"email": None, "accepted_email_marketing": True})
    assert reread(on_stage, missing_email=choice)[bucket] == 1
    assert len(on_stage.customers()) == made


def test_an_email_added_at_the_source_closes_the_held_entry(on_stage: Stage):
    """C08: what recovers closes itself."""
    key = on_stage.world.add_patient(**MIA | {"email": None})
    on_stage.sync()
    on_stage.world.edit_patient(key, email="mia@example.com")
    on_stage.sync()
    assert on_stage.held() == {}
    assert only_customer(on_stage)["email"] == "mia@example.com"


def test_a_family_email_is_held_with_its_candidate_and_merges_nobody(on_stage: Stage):
    """C17, asks 15, 16, K37: two patients, one address."""
    on_stage.world.add_patient(**MIA)
    leo = on_stage.world.add_patient(**MIA | {"first_name": "Leo"})
    counts = on_stage.sync()
    assert (counts["created"], counts["held"]) == (1, 1)
    (held,) = on_stage.deliveries(state="held")
    assert (held.source_key, held.code) == (leo, "match.shared_email")
    assert held.candidates == list(on_stage.links().values())
    assert only_customer(on_stage)["firstName"] == "Mia"


def test_a_family_email_may_be_left_out_by_setting(on_stage: Stage):
    on_stage.world.add_patient(**MIA)
    on_stage.world.add_patient(**MIA | {"first_name": "Leo", "accepted_email_marketing": True})
    counts = reread(on_stage, shared_email="create")
    assert counts["created"] == 2
    assert sorted(str(customer["email"]) for customer in on_stage.customers()) == ["None", "mia@example.com"]
    writes = on_stage.writes
    on_stage.set_flow()
    on_stage.sync()
    assert on_stage.writes == writes


def test_a_shared_phone_is_left_out_with_a_note(on_stage: Stage):
    on_stage.world.add_patient(**MIA, phone="0400 000 001")
    on_stage.world.add_patient(first_name="Leo", last_name="Ng", email="leo@example.com", phone="0400 000 001")
    assert on_stage.sync()["created"] == 2
    assert sorted(str(customer["phone"]) for customer in on_stage.customers()) == ["+61400000001", "None"]
    (told,) = [delivery for delivery in on_stage.deliveries() if delivery.notes]
    assert told.notes == [{"code": "match.shared_phone", "field": "phone"}]


@pytest.mark.parametrize(("choice", "bucket"), [("drop", "created"), ("hold", "held")])
def test_an_unusable_phone_is_dropped_or_held(on_stage: Stage, choice, bucket):
    on_stage.world.add_patient(**MIA, phone="call mum")
    assert reread(on_stage, bad_phone=choice)[bucket] == 1
    assert [customer["phone"] for customer in on_stage.customers()] == ([None] if choice == "drop" else [])


def test_two_patients_of_one_name_become_two_customers(on_stage: Stage):
    """Ask 16, K37: a name never merges."""
    on_stage.world.add_patient(**MIA)
    on_stage.world.add_patient(**MIA | {"email": "other.mia@example.com"})
    assert on_stage.sync()["created"] == 2


# -- customers that were there before


def test_a_customer_with_the_email_and_family_name_is_linked_not_doubled(on_stage: Stage):
    on_stage.shop.create({"firstName": "M.", "lastName": "chen", "email": "mia@example.com", "tags": ["vip"]})
    on_stage.world.add_patient(**MIA)
    assert on_stage.sync()["updated"] == 1
    customer = only_customer(on_stage)
    assert customer["firstName"] == "Mia"
    assert customer["tags"] == ["vip"]
    assert "suture.cliniko_patient_id" in customer["metafields"]


def test_a_customer_with_the_email_but_another_name_is_a_persons_question(on_stage: Stage):
    on_stage.shop.create({"firstName": "Ann", "lastName": "Nguyen", "email": "mia@example.com"})
    on_stage.world.add_patient(**MIA)
    on_stage.sync()
    (held,) = on_stage.deliveries(state="held")
    assert held.code == "match.shared_email"
    assert len(held.candidates) == 1


def test_what_the_shop_filled_is_not_blanked_by_what_the_practice_lacks(on_stage: Stage):
    """V6: null protected fields never blank a target."""
    on_stage.shop.create({"firstName": "Mia", "lastName": "Chen", "email": "mia@example.com", "phone": "+61400000009"})
    on_stage.world.add_patient(**MIA)
    on_stage.sync()
    assert only_customer(on_stage)["phone"] == "+61400000009"


def test_a_foreign_number_keeps_the_country_the_practice_system_knows(on_stage: Stage):
    """``021 123 4567`` of somebody in New Zealand is another person's number in Australia."""
    phones = [{"number": "021 123 4567", "normalized_number": "64211234567", "phone_type": "Mobile"}]
    on_stage.world.add_patient(**MIA | {"patient_phone_numbers": phones})
    on_stage.sync()
    assert only_customer(on_stage)["phone"] == "+64211234567"


# -- consent


@pytest.mark.parametrize(
    ("accepted", "state"), [(True, "SUBSCRIBED"), (False, "NOT_SUBSCRIBED"), (None, "NOT_SUBSCRIBED")]
)
def test_only_a_yes_subscribes(on_stage: Stage, accepted, state):
    """A46, B4: absent is not consent."""
    on_stage.world.add_patient(**MIA, accepted_email_marketing=accepted)
    on_stage.sync()
    assert only_customer(on_stage)["emailState"] == state


def test_consent_withdrawn_at_the_source_unsubscribes(on_stage: Stage):
    key = on_stage.world.add_patient(**MIA, accepted_email_marketing=True)
    on_stage.sync()
    on_stage.world.edit_patient(key, accepted_email_marketing=False)
    on_stage.sync()
    assert only_customer(on_stage)["emailState"] == "UNSUBSCRIBED"


def test_a_customer_who_unsubscribed_in_the_shop_stays_unsubscribed(on_stage: Stage):
    key = on_stage.world.add_patient(**MIA, accepted_email_marketing=True)
    on_stage.sync()
    customer = only_customer(on_stage)
    on_stage.shop.store(customer | {"emailState": "UNSUBSCRIBED"})
    on_stage.world.edit_patient(key, first_name="Mya")
    on_stage.sync()
    assert only_customer(on_stage)["firstName"] == "Mya"
    assert only_customer(on_stage)["emailState"] == "UNSUBSCRIBED"


@pytest.mark.parametrize(("accepted", "made"), [(False, 0), (None, 1), (True, 1)])
def test_a_refused_privacy_policy_blocks_the_export(on_stage: Stage, accepted, made):
    on_stage.world.add_patient(**MIA | {"accepted_privacy_policy": accepted})
    on_stage.sync()
    assert len(on_stage.customers()) == made


# -- archived and merged patients


def test_an_archived_patient_is_tagged_and_untagged_when_back(on_stage: Stage):
    """Ask 17: archiving is an event with a policy. Archiving need not touch updated_at."""
    key = on_stage.world.add_patient(**MIA)
    on_stage.sync()
    on_stage.world.archive(key)
    assert on_stage.sync()["archived"] == 1
    assert only_customer(on_stage)["tags"] == ["inactive"]
    on_stage.world.unarchive(key)
    on_stage.sync()
    assert only_customer(on_stage)["tags"] == []


def test_archived_patients_may_lose_marketing_or_wait_or_be_ignored(on_stage: Stage):
    key = on_stage.world.add_patient(**MIA, accepted_email_marketing=True)
    on_stage.sync()
    on_stage.world.archive(key)
    reread(on_stage, archived="ignore")
    assert only_customer(on_stage)["emailState"] == "SUBSCRIBED"
    reread(on_stage, archived="hold")
    assert on_stage.held() == {key: "record.archived_ask"}
    reread(on_stage, archived="disable_marketing")
    assert only_customer(on_stage)["emailState"] == "UNSUBSCRIBED"


def test_a_patient_archived_before_the_first_sync_makes_no_customer(on_stage: Stage):
    on_stage.world.archive(on_stage.world.add_patient(**MIA))
    assert on_stage.sync()["skipped"] == 1
    assert on_stage.customers() == []


def test_a_merged_patients_link_moves_to_the_survivor(on_stage: Stage):
    """V15, ask 17: the marker at the target follows, nobody is made twice."""
    gone = on_stage.world.add_patient(**MIA)
    on_stage.sync()
    stays = on_stage.world.add_patient(**MIA | {"first_name": "Mya"})
    on_stage.world.merge(gone, stays)
    on_stage.sync()
    customer = only_customer(on_stage)
    assert list(on_stage.links()) == [stays]
    assert customer["firstName"] == "Mya"
    assert customer["metafields"]["suture.cliniko_patient_id"]["value"] == stays
    assert on_stage.held() == {}


def test_a_mass_archive_stops_and_asks(on_stage: Stage):
    """V15: more than 5 % and more than 10 at once."""
    keys = [on_stage.world.add_patient(**MIA | {"email": f"p{number}@example.com"}) for number in range(14)]
    on_stage.sync()
    for key in keys[:12]:
        on_stage.world.archive(key)
    writes = on_stage.writes
    on_stage.sync()
    assert on_stage.writes == writes
    assert set(on_stage.held().values()) == {"guard.mass_change"}
    assert len(on_stage.held()) == 12


# -- modes


def test_preview_shows_what_it_would_do_and_writes_nothing(on_stage: Stage):
    on_stage.set_flow(mode="preview")
    on_stage.world.add_patient(**MIA)
    counts = on_stage.sync()
    assert (counts["skipped"], on_stage.writes, on_stage.links()) == (1, 0, {})
    (shown,) = on_stage.deliveries()
    assert shown.code == "mode.preview"
    assert shown.plan["action"] == "create"
    assert "email" in shown.plan["fields"]
    on_stage.set_flow(mode="live")
    assert on_stage.sync()["created"] == 1


def test_a_pilot_lets_only_listed_records_through(on_stage: Stage):
    """K04: everything else is skipped with a code and counted."""
    listed = on_stage.world.add_patient(**MIA)
    on_stage.world.add_patient(**MIA | {"email": "other@example.com"})
    on_stage.set_flow(mode="pilot", pilot_keys=[listed])
    counts = on_stage.sync()
    assert (counts["created"], counts["skipped"]) == (1, 1)
    assert list(on_stage.links()) == [listed]


def test_a_flow_that_is_off_reads_nothing(on_stage: Stage):
    on_stage.world.add_patient(**MIA)
    on_stage.set_flow(mode="off")
    assert on_stage.report().flows == []
    assert on_stage.cliniko.journal.entries() == []


# -- custom fields and company


def test_a_released_custom_field_names_the_company_and_fills_a_metafield(on_stage: Stage):
    """C11: the company comes from a custom field that the clinic names; unreleased ones do not pass."""
    answers = {"sections": [{"name": "Intake", "token": "t", "archived": False, "fields": [
        {"name": "Employer", "type": "text", "token": "e", "value": "Acme Pty Ltd"},
        {"name": "Treatment goals", "type": "paragraph", "token": "g", "value": "CANARY-goal"},
    ]}]}  # fmt: skip
    on_stage.world.add_patient(**MIA, address_1="12 Wattle Street", city="Geelong", custom_fields=answers)
    counts = reread(on_stage, company_field="Employer")
    assert counts["created"] == 1
    assert only_customer(on_stage)["addresses"][0]["company"] is None
    with tenant_tx(on_stage.tenant.pk):
        Connection.objects.filter(name="practice").update(released_fields=["custom_fields.employer"])
    on_stage.set_flow()
    on_stage.sync()
    assert only_customer(on_stage)["addresses"][0]["company"] == "Acme Pty Ltd"


EMPLOYED = {"sections": [{"name": "Intake", "token": "t", "archived": False, "fields": [
    {"name": "Employer", "type": "text", "token": "e", "value": "Acme Pty Ltd"},
]}]}  # fmt: skip
LEO = {"first_name": "Leo", "last_name": "Ng", "email": "leo@example.com", "accepted_privacy_policy": True}


def employ(on_stage: Stage, *, keeps_companies: bool = True) -> None:
    """Two patients of one employer; the custom field is released, the shop's connection tested."""
    on_stage.shop.settings.b2b = keeps_companies
    with tenant_tx(on_stage.tenant.pk):
        Connection.objects.filter(name="practice").update(released_fields=["custom_fields.employer"])
    connections.test_connection(on_stage.tenant.pk, on_stage.connection_id("shop"))
    for person in (MIA, LEO):
        on_stage.world.add_patient(**person, address_1="12 Wattle Street", city="Geelong", custom_fields=EMPLOYED)


def addressed(on_stage: Stage) -> list[object]:
    return [customer["addresses"][0]["company"] for customer in on_stage.customers()]


def test_two_patients_of_one_employer_become_contacts_of_one_company(on_stage: Stage):
    """C11: the company of the custom field may be one of the shop's own."""
    employ(on_stage)
    assert reread(on_stage, company_field="Employer", company_as="b2b")["created"] == 2
    (company,) = on_stage.shop.companies.values()
    assert (company["name"], company["externalId"]) == ("Acme Pty Ltd", "suture-acme-pty-ltd")
    assert [contact["customer"] for contact in company["contacts"]] == list(on_stage.shop.customers)
    assert addressed(on_stage) == [None, None]
    writes = on_stage.writes
    assert reread(on_stage, company_field="Employer", company_as="b2b")["unchanged"] == 2
    assert on_stage.writes == writes


def test_a_changed_employer_makes_a_contact_of_another_company_and_keeps_the_old(on_stage: Stage):
    employ(on_stage)
    reread(on_stage, company_field="Employer", company_as="b2b")
    key = next(iter(on_stage.links()))
    moved = {
        "sections": [
            EMPLOYED["sections"][0] | {"fields": [EMPLOYED["sections"][0]["fields"][0] | {"value": "Wattle Ltd"}]}
        ]
    }
    on_stage.world.edit_patient(key, custom_fields=moved)
    assert on_stage.sync()["updated"] == 1
    assert [len(company["contacts"]) for company in on_stage.shop.companies.values()] == [2, 1]
    writes = on_stage.writes
    on_stage.set_flow()
    assert on_stage.sync()["updated"] == 0
    assert on_stage.writes == writes


def test_a_shop_without_companies_gets_the_address_and_a_note(on_stage: Stage):
    employ(on_stage, keeps_companies=False)
    assert reread(on_stage, company_field="Employer", company_as="b2b")["created"] == 2
    assert addressed(on_stage) == ["Acme Pty Ltd", "Acme Pty Ltd"]
    assert [one.notes for one in on_stage.deliveries()] == [
        [{"code": "company.as_address", "field": "address.company"}]
    ] * 2


def test_a_shop_that_keeps_companies_by_now_gets_them_after_a_test(on_stage: Stage):
    employ(on_stage, keeps_companies=False)
    reread(on_stage, company_field="Employer", company_as="b2b")
    on_stage.shop.settings.b2b = True
    connections.test_connection(on_stage.tenant.pk, on_stage.connection_id("shop"))
    assert on_stage.sync()["updated"] == 2
    assert [len(company["contacts"]) for company in on_stage.shop.companies.values()] == [2]


def test_the_company_goes_into_the_address_by_default(on_stage: Stage):
    employ(on_stage)
    reread(on_stage, company_field="Employer")
    assert addressed(on_stage) == ["Acme Pty Ltd", "Acme Pty Ltd"]
    assert on_stage.shop.companies == {}
    assert not any(one.notes for one in on_stage.deliveries())


# -- what never leaves


def test_planted_clinical_values_never_leave(on_stage: Stage):
    """B4, A07, A39: a canary in every clinical field; the outgoing bodies and our own tables hold none."""
    on_stage.shopify.journal.keep_bodies = True
    on_stage.world.add_patient(**sandbox_people.clinical(1) | MIA)
    on_stage.sync()
    assert len(on_stage.customers()) == 1
    sent = "".join(str(entry.body) for entry in on_stage.shopify.journal.entries())
    assert "mia@example.com" in sent
    assert "canary" not in sent.lower()
    assert sandbox_people.CANARY_BIRTH_DATE not in sent


def test_no_personal_value_stays_in_our_tables(on_stage: Stage):
    """Faults 11: after a run the outbox, links and log hold keys and digests only."""
    on_stage.world.add_patient(**MIA, phone="0400 000 001")
    on_stage.sync()
    with tenant_tx(on_stage.tenant.pk):
        rows = [repr(row) for row in SyncLogEntry.objects.values()] + [repr(row) for row in Flow.objects.values()]
    rows += [repr(vars(row)) for row in on_stage.deliveries()]
    told = " ".join(rows).lower()
    assert "mia" not in told
    assert "400000001" not in told


def test_both_vendors_saw_only_their_own_clinic(on_stage: Stage):
    on_stage.world.add_patient(**MIA)
    on_stage.sync()
    assert {entry.subject for entry in on_stage.shopify.journal.entries()} == {SHOP}
