"""Flows' screens on both sites: rules edited, tried and published, modes, settings, preview, revisions (C03, C27, B11)."""

from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext

from integrations.flows.kind import Config
from integrations.models import Delivery, Flow, FlowRevision, MappingRule, Run, RunState
from integrations.services import configuration, configured
from integrations.services.changes import OPERATOR
from tenants.models import AuditEntry, Tenant
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, sign_in
from tests.shell.screens import page, post, text
from tests.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


def form_of(response: Any) -> dict[str, str]:
    """The boxes of the rules editor as a browser would send them back unchanged."""
    given = {"revision": "1"}
    for row in response.context["editor"].rows:
        prefix = f"rule-{row.number}"
        given |= {
            f"{prefix}-target": row.target,
            f"{prefix}-source": row.source,
            f"{prefix}-write": row.write,
            f"{prefix}-wins": row.conflict,
        }
        given |= {f"{prefix}-step-{place}": step for place, step in enumerate(row.chosen)}
    return given


def box(response: Any, target: str, name: str) -> str:
    return next(f"rule-{row.number}-{name}" for row in response.context["editor"].rows if row.target == target)


TABS = ("change", "fields", "settings", "values", "schedule", "preview", "backfill", "revisions")


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_opens_on_both_sites_for_all_roles(
    tab: str, on_stage: Stage, ana_at: Client, olga_at: Client, vik_at: Client
) -> None:
    for client, site in ((ana_at, "agency"), (olga_at, "clinic"), (vik_at, "clinic")):
        assert "Patients become customers" in text(page(client, site, on_stage.flow_id, tab))


@pytest.mark.parametrize("tab", TABS)
def test_a_flow_of_another_clinic_is_as_absent_as_one_that_never_was(tab: str, on_stage: Stage, house: House) -> None:
    rita = sign_in(house.rita)
    foreign, absent = page(rita, "clinic", on_stage.flow_id, tab), page(rita, "clinic", 10**9, tab)
    assert (foreign.status_code, foreign.headers.get("location")) == (302, absent.headers.get("location"))


def test_who_decides_stands_beside_every_field(on_stage: Stage, olga_at: Client) -> None:
    """C03: the ownership of each field is on the screen."""
    answer = page(olga_at, "clinic", on_stage.flow_id, "fields")
    owners = {row.target: row.owner for row in answer.context["editor"].rows}
    assert owners["email"] == "Cliniko"
    assert owners["emailMarketing"] == "Shopify, once changed there"
    assert "Shopify, once changed there" in text(answer)


def test_an_unchanged_form_publishes_nothing(on_stage: Stage, ana_at: Client) -> None:
    given = form_of(page(ana_at, "agency", on_stage.flow_id, "fields"))
    assert post(ana_at, on_stage.flow_id, "fields", do="publish", **given).status_code == 302
    with tenant_tx(on_stage.tenant.pk):
        assert FlowRevision.objects.count() == 1 and not MappingRule.objects.exists()


def test_an_edited_rule_is_published_as_a_revision_and_reverted(on_stage: Stage, ana_at: Client, house: House) -> None:
    shown = page(ana_at, "agency", on_stage.flow_id, "fields")
    given = form_of(shown)
    given[box(shown, "firstName", "source")] = "preferred_first_name"
    given[box(shown, "phone", "source")] = ""
    post(ana_at, on_stage.flow_id, "fields", do="publish", note="Preferred names", **given)
    with tenant_tx(on_stage.tenant.pk):
        flow = Flow.objects.get()
        assert flow.revision_number == 2 and flow.wants_full_pass
        assert configured.config_of(flow).removed == {"phone"}
        revision = FlowRevision.objects.get(number=2)
        assert (revision.note, revision.author_id) == ("Preferred names", house.ana.pk)
        entry = AuditEntry.objects.get(action="flow.configured")
        assert entry.diff["fields"] == ["rules.firstName", "rules.phone"]
        assert (entry.actor, entry.actor_role) == (house.ana.username, "agency_owner")
    shown = page(ana_at, "agency", on_stage.flow_id, "fields")
    assert "As shipped:" in text(shown)
    given = form_of(shown) | {
        "revision": "2",
        box(shown, "firstName", "revert"): "1",
        box(shown, "phone", "revert"): "1",
    }
    post(ana_at, on_stage.flow_id, "fields", do="publish", **given)
    with tenant_tx(on_stage.tenant.pk):
        assert not MappingRule.objects.exists()
    assert "Preferred names" in text(page(ana_at, "agency", on_stage.flow_id, "revisions"))


def test_two_people_at_the_same_rules_do_not_overwrite_each_other(on_stage: Stage, ana_at: Client) -> None:
    shown = page(ana_at, "agency", on_stage.flow_id, "fields")
    given = form_of(shown) | {box(shown, "firstName", "source"): "preferred_first_name"}
    post(ana_at, on_stage.flow_id, "fields", do="publish", **given)
    late = post(
        ana_at, on_stage.flow_id, "fields", do="publish", **(given | {box(shown, "lastName", "source"): "title"})
    )
    assert "Somebody published revision 2 meanwhile" in text(late)


def test_a_clinical_field_is_not_offered_and_refused_when_sent_anyway(on_stage: Stage, ana_at: Client) -> None:
    shown = page(ana_at, "agency", on_stage.flow_id, "fields")
    offered = {name for _, options in shown.context["editor"].sources for name, _ in options}
    assert "date_of_birth" not in offered and "notes" not in offered
    given = form_of(shown) | {box(shown, "firstName", "source"): "date_of_birth"}
    assert "is clinical" in text(post(ana_at, on_stage.flow_id, "fields", do="publish", **given))
    assert "is clinical" in text(post(ana_at, on_stage.flow_id, "fields", do="try", asked="1", **given))
    unreleased = form_of(shown) | {
        "add-target": "metafields.",
        "add-name": "clinic.referrer",
        "add-source": "custom_fields.referrer",
    }
    assert "has not released" in text(post(ana_at, on_stage.flow_id, "fields", do="publish", **unreleased))
    with tenant_tx(on_stage.tenant.pk):
        assert FlowRevision.objects.count() == 1


def test_a_rule_is_tried_on_a_real_record_before_it_is_saved(on_stage: Stage, ana_at: Client) -> None:
    """The edited rule is used, the vendor is read, nothing is written anywhere."""
    patient = add_patient(on_stage)
    shown = page(ana_at, "agency", on_stage.flow_id, "fields")
    given = form_of(shown) | {box(shown, "firstName", "source"): "preferred_first_name"}
    answer = post(ana_at, on_stage.flow_id, "fields", do="try", asked=patient, **given)
    body, trial = text(answer), answer.context["trial"]
    assert trial["action"] == "create" and trial["key"] == patient
    lines = {line.label: line for line in trial["lines"]}
    assert lines["First name"].after == "Mimi"
    assert lines["E-mail address"].after == "mia.chen@example.test"
    assert lines["Phone number"].after == "+61412345678"
    assert "Not published yet" in body
    assert customers(on_stage) == 0
    with tenant_tx(on_stage.tenant.pk):
        assert FlowRevision.objects.count() == 1
        assert not Delivery.objects.exists()


def test_a_record_that_would_be_held_says_why(on_stage: Stage, ana_at: Client) -> None:
    patient = add_patient(on_stage, email=None)
    answer = post(ana_at, on_stage.flow_id, "fields", do="try", asked=patient)
    assert answer.context["trial"]["action"] == "hold"
    assert "no e-mail address" in text(answer)


def test_an_unknown_record_says_so(on_stage: Stage, ana_at: Client) -> None:
    assert "no longer there" in text(post(ana_at, on_stage.flow_id, "fields", do="try", asked="999999"))


def test_a_person_is_found_by_typed_address(on_stage: Stage, ana_at: Client) -> None:
    patient = add_patient(on_stage)
    answer = post(ana_at, on_stage.flow_id, "fields", do="try", asked="Mia.Chen@example.test")
    assert answer.context["trial"]["key"] == patient


def test_a_viewer_may_try_and_sees_masked_values(on_stage: Stage, vik_at: Client) -> None:
    body = text(post(vik_at, on_stage.flow_id, "fields", "clinic", do="try", asked=add_patient(on_stage)))
    assert "mia.chen" not in body and "Chen" not in body and "m***@" in body


def test_only_the_agency_edits_rules_and_lets_a_flow_write(on_stage: Stage, olga_at: Client, vik_at: Client) -> None:
    shown = page(olga_at, "clinic", on_stage.flow_id, "fields")
    given = form_of(shown) | {box(shown, "firstName", "source"): "preferred_first_name"}
    assert post(olga_at, on_stage.flow_id, "fields", "clinic", do="publish", **given).status_code == 403
    assert post(olga_at, on_stage.flow_id, "mode", "clinic", mode="live", sure="yes").status_code == 403
    assert post(vik_at, on_stage.flow_id, "mode", "clinic", mode="preview").status_code == 403
    assert post(vik_at, on_stage.flow_id, "settings", "clinic", missing_email="skip").status_code == 403
    assert post(olga_at, on_stage.flow_id, "mode", "clinic", mode="preview").status_code == 302
    with tenant_tx(on_stage.tenant.pk):
        assert Flow.objects.get().mode == "preview"
    post(olga_at, on_stage.flow_id, "mode", "clinic", mode="off")
    with tenant_tx(on_stage.tenant.pk):
        assert Flow.objects.get().mode == "off" and not MappingRule.objects.exists()


def test_going_live_asks_first_and_looking_never_writes(on_stage: Stage, ana_at: Client) -> None:
    assert "Go live?" in text(post(ana_at, on_stage.flow_id, "mode", mode="live"))
    assert ana_at.get(f"/agency/integrations/flow/{on_stage.flow_id}/mode/?mode=live&sure=yes").status_code == 302
    with tenant_tx(on_stage.tenant.pk):
        assert Flow.objects.get().mode == "off"
    post(ana_at, on_stage.flow_id, "mode", mode="live", sure="yes")
    with tenant_tx(on_stage.tenant.pk):
        assert Flow.objects.get().mode == "live"


def test_a_manager_changes_settings_and_the_pilot_list_but_not_the_schedule(on_stage: Stage, olga_at: Client) -> None:
    kind = page(olga_at, "clinic", on_stage.flow_id, "settings").context["kind"]
    given = kind.default_settings() | {"missing_email": "skip", "note": "No e-mail, no account"}
    assert post(olga_at, on_stage.flow_id, "settings", "clinic", **given).status_code == 302
    post(olga_at, on_stage.flow_id, "schedule", "clinic", every="5s", start="2026-01-01", pilot_keys="12\n 13, 14")
    with tenant_tx(on_stage.tenant.pk):
        flow = Flow.objects.get()
        assert (flow.settings, flow.revision_number) == ({"missing_email": "skip"}, 2)
        assert (flow.every, flow.start, flow.pilot_keys) == ("15m", "all", ["12", "13", "14"])
    wrong = post(olga_at, on_stage.flow_id, "settings", "clinic", **(given | {"missing_email": "perhaps"}))
    assert "Select a valid choice" in text(wrong)


def test_a_preview_shows_what_it_would_do_and_writes_nothing(on_stage: Stage, ana_at: Client) -> None:
    patient = add_patient(on_stage)
    on_stage.set_flow(mode="preview")
    on_stage.sync()
    body = text(page(ana_at, "agency", on_stage.flow_id, "preview"))
    assert patient in body and "Create" in body and "E-mail address" in body
    assert "mia.chen" not in body and customers(on_stage) == 0


def test_the_value_maps_tab_says_that_this_kind_has_none(on_stage: Stage, ana_at: Client) -> None:
    assert "This flow needs no value map" in text(page(ana_at, "agency", on_stage.flow_id, "values"))


def test_an_older_revision_is_published_again(on_stage: Stage, ana_at: Client, olga_at: Client) -> None:
    with tenant_tx(on_stage.tenant.pk):
        flow = Flow.objects.get()
        configuration.configure(flow, config=Config(settings={"archived": "hold"}), note="Ask", by=OPERATOR)
    assert post(olga_at, on_stage.flow_id, "revisions", "clinic", number="1").status_code == 403
    post(ana_at, on_stage.flow_id, "revisions", number="1")
    with tenant_tx(on_stage.tenant.pk):
        flow = Flow.objects.get()
        assert (flow.settings, flow.revision_number) == ({}, 3)
    assert "Back to revision 1" in text(page(ana_at, "agency", on_stage.flow_id, "revisions"))


def test_the_agency_adds_a_flow_and_both_ends_must_be_of_one_clinic(
    house: House, on_stage: Stage, ana_at: Client, olga_at: Client
) -> None:
    with tenant_tx(on_stage.tenant.pk):
        flow = Flow.objects.get()
        given = {"kind": flow.kind, "source": str(flow.source_id), "target": str(flow.target_id), "name": "second"}
    with tenant_tx(house.ridge.pk):
        foreign = configuration.Connection.objects.create(name="shop", vendor="shopify", account="ridge.myshopify.com")
    assert olga_at.post("/clinic/integrations/flow/add/", given).status_code == 403
    assert "of one clinic" in text(ana_at.post("/agency/integrations/flow/add/", given | {"target": str(foreign.pk)}))
    swapped = given | {"source": given["target"], "target": given["source"]}
    assert "reads from Cliniko" in text(ana_at.post("/agency/integrations/flow/add/", swapped))
    assert ana_at.post("/agency/integrations/flow/add/", given).status_code == 302
    with tenant_tx(on_stage.tenant.pk):
        assert Flow.objects.get(name="second").mode == "off"


@pytest.mark.parametrize("site", ["agency", "clinic"])
def test_no_page_asks_more_queries_as_rows_grow(
    site: str, house: House, on_stage: Stage, ana_at: Client, olga_at: Client
) -> None:
    client = ana_at if site == "agency" else olga_at
    addresses = [f"/{site}/integrations/flow/", f"/{site}/integrations/connection/"]
    addresses += [f"/{site}/integrations/flow/{on_stage.flow_id}/{tab}/" for tab in TABS]
    if site == "agency":
        addresses.append("/agency/tenants/tenant/")
    counts = []
    for many in (3, 30):
        fill(on_stage.tenant, on_stage.flow_id, many)
        counts.append({address: queries(client, address) for address in addresses})
    assert counts[0] == counts[1]


def queries(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(database) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


def fill(tenant: Tenant, flow_id: int, many: int) -> None:
    with tenant_tx(tenant.pk):
        flow = Flow.objects.get(pk=flow_id)
        for number in range(many):
            run = Run.objects.create(flow=flow, started_at=app_now(), state=RunState.DONE)
            shop = configuration.Connection.objects.create(
                name=f"shop-{many}-{number}",
                vendor="shopify",
                account=f"shop-{many}-{number}.myshopify.com",
                quota_subject=f"s{number}",
            )
            configuration.add_flow(
                kind=configuration.FLOW_KINDS[flow.kind],
                source=flow.source,
                target=shop,
                name=f"f-{many}-{number}",
                by=OPERATOR,
            )
            FlowRevision.objects.create(flow=flow, number=many * 100 + number, config={})
        Delivery.objects.bulk_create(
            Delivery(
                flow=flow, run=run, target=flow.target, source_key=f"{many}-{number}", state="done", code="mode.preview",
                plan={"action": "create", "fields": ["email"]}, not_before=app_now(), done_at=app_now(),
            )
            for number in range(many)
        )  # fmt: skip


def add_patient(on_stage: Stage, **values: Any) -> str:
    """Mia Chen, who is called Mimi."""
    given = {
        "first_name": "Mia",
        "last_name": "Chen",
        "preferred_first_name": "Mimi",
        "email": "Mia.Chen@example.test",
        "phone": "0412 345 678",
    }
    return on_stage.world.add_patient(**(given | values))


def customers(on_stage: Stage) -> int:
    return sum(len(shop.customers) for shop in on_stage.shopify.vendor.shops.values())
