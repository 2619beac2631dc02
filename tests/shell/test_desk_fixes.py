"""What the desk offers for each kind of trouble, and that the record goes on with it (C08, C14, C17, K36, B9, asks 5, 18)."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.test import Client

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.messages import MESSAGES, Fix, Owner
from integrations.models import Assignment, Comment, Delivery, Flow, FlowRevision, Override, ValueMap
from integrations.services import desk, handling
from integrations.services.changes import By
from integrations.services.configuration import configure
from integrations.services.configured import config_of
from integrations.services.desk_choice import Chosen
from tenants.models import AuditEntry
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, sign_in
from tests.desk_rows import hold, make_flow
from tests.reports import compared
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

PRODUCTS = "products-to-products"
INVOICES = "invoices-to-orders"
ROLLER = {"name": "Foam roller 45 cm", "item_code": "", "price": "90"}
BY_PATH = {"email": "email", "phone": "phone", "name": "firstName", "zip": "address.zip", "address": "address.address1"}
"""Which field a refusal of such a code names."""


@pytest.fixture
def on_stage(house: House) -> Iterator[Stage]:
    with stage(house.harbour) as built:
        open_wide(built)
        yield built


@pytest.fixture
def olga(house: House) -> Client:
    return sign_in(house.olga)


def page_of(delivery: Delivery) -> str:
    return f"/clinic/integrations/delivery/{delivery.pk}/change/"


def press(client: Client, delivery: Delivery, **form: str) -> str:
    """What the person is told."""
    answer = client.post(page_of(delivery), form, follow=True)
    assert answer.status_code == 200
    return " ".join(str(one) for one in answer.context["messages"])


def only_held(on_stage: Stage) -> Delivery:
    (row,) = on_stage.deliveries(state="held")
    return row


# Every code there is


def field_of(code: str) -> str:
    told = code.rpartition(".")[2].partition("_")[0]
    return BY_PATH.get(told, "") if code.startswith(("rule.", "shopify.")) else ""


def one_of_each() -> list[str]:
    """The first code of each owner, fix and family."""
    sorts = {(told.owner, told.fix, code.partition(".")[0]): code for code, told in reversed(MESSAGES.items())}
    return list(sorts.values())


@pytest.mark.parametrize(
    "codes",
    [pytest.param(one_of_each(), id="one-of-each"), pytest.param(list(MESSAGES), id="all", marks=pytest.mark.proof)],
)
def test_every_code_has_a_fix_on_the_desk_that_works(on_stage: Stage, olga: Client, codes: list[str]) -> None:
    """Generated from the table of codes: a code added tomorrow is held, fixed and delivered here tomorrow."""
    keys = {}
    for number, code in enumerate(codes):
        person = {"first_name": f"Nr{number}", "last_name": "Chen", "email": f"p{number}@example.com"}
        keys[code] = str(on_stage.world.add_patient(**person, accepted_privacy_policy=True))
    with tenant_tx(on_stage.tenant.pk):
        flow = Flow.objects.get(pk=on_stage.flow_id)
        flow.runs.create(flow=flow, state="done", started_at=app_now(), revision_number=1)
    for number, code in enumerate(codes):
        named = [{"code": code, "field": field_of(code)}]
        fields = {"firstName": f"Nr{number}", "lastName": "Chen", "email": f"p{number}@example.com"}
        hold(flow, keys[code], code=code, fields=fields, codes=named)
    rows = {row.code: row for row in on_stage.deliveries(state="held")}
    wrong = [f"{code}: {fault}" for code in codes if (fault := _fixed(olga, rows[code]))]
    assert not wrong, "\n".join(wrong)
    on_stage.sync()
    assert on_stage.held() == {}
    assert set(keys.values()) == set(on_stage.links())


def _fixed(client: Client, row: Delivery) -> str:
    """What is wrong with the fix that the desk offers for this code, ``""`` for nothing. Afterwards the record goes on."""
    told, text = MESSAGES[row.code], client.get(page_of(row)).content.decode()
    offered = re.findall(r'<(?:button|a|summary)[^>]*data-key="d"[^>]*>', text)
    if len(offered) != 1:
        return f"{len(offered)} things to do"
    if told.owner not in Owner or told.sentence not in _plain(text) or told.advice not in _plain(text):
        return "does not say who, what happened and what to do"
    do = re.search(r'name="do" value="(\w+)"', offered[0])
    if do is None:
        return _elsewhere(client, row, offered[0])
    form = {"value": _typed(text, row)} if do[1] == "fill" else {"reason": "by hand", "days": "7"}
    client.post(page_of(row), {"do": do[1], **form})
    with tenant_tx(row.tenant_id):
        now = Delivery.objects.get(pk=row.pk)
        if do[1] == "ignore":
            is_off = now.ignored_until and not desk.on_desk(app_now()).filter(pk=row.pk).exists()
            is_back = desk.on_desk(app_now() + timedelta(days=9)).filter(pk=row.pk).exists()
            desk.retry(Delivery.objects.filter(pk=row.pk))  # it is over with what was done by hand
            return "" if is_off and is_back else "is not put off, or does not come back"
    expected = {Fix.APPROVE: "approve"}.get(told.fix)
    if expected and do[1] != expected:
        return f"offers {do[1]}"
    return "" if now.state == "waiting" else f"{do[1]} left it {now.state}"


def _elsewhere(client: Client, row: Delivery, link: str) -> str:
    """The fix is made on another page of the clinic's own site, and the record is tried again from here."""
    href = re.search(r'href="([^"]+)"', link)
    if href is None or client.get(href[1]).status_code != 200:
        return "leads nowhere"
    client.post(page_of(row), {"do": "retry"})
    with tenant_tx(row.tenant_id):
        return "" if Delivery.objects.get(pk=row.pk).state == "waiting" else "cannot be tried again"


def _typed(text: str, row: Delivery) -> str:
    kind = re.search(r'<input type="(\w+)" name="value"', text)
    assert kind is not None
    return {"email": f"given{row.pk}@example.com", "tel": f"04{row.pk % 10**8:08}"}.get(kind[1], "2095")


def _plain(text: str) -> str:
    return text.replace("&#x27;", "'").replace("&quot;", '"').replace("&amp;", "&")


# A value until its source changes


@pytest.fixture
def shelf(on_stage: Stage) -> Stage:
    on_stage.join(PRODUCTS)
    return on_stage


def skus(shelf: Stage) -> list[str]:
    return [product["variants"][0]["item"]["sku"] for product in shelf.shop.products.values()]


def unnumbered(shelf: Stage) -> str:
    tax = goods.add_tax(shelf.world, name="GST", rate="10.0")
    key = str(goods.add_product(shelf.world, tax_id=tax, **ROLLER))
    shelf.sync()
    assert shelf.held() == {key: "product.sku_missing"}
    return key


def test_a_missing_sku_is_typed_at_the_desk_and_the_product_goes_out(shelf: Stage, olga: Client) -> None:
    unnumbered(shelf)
    row = only_held(shelf)
    assert "Item code" in olga.get(page_of(row)).content.decode()
    assert "goes out with the value you gave" in press(olga, row, do="fill", value=" FR-45 ")
    shelf.sync()
    assert (shelf.held(), skus(shelf)) == ({}, ["FR-45"])
    with tenant_tx(shelf.tenant.pk):
        assert b"FR-45" not in bytes(Override.objects.get().sealed_value)
        assert AuditEntry.objects.get(action="delivery.value_given").diff == {
            "field": "item_code",
            "record": row.source_key,
        }
        assert "FR-45" not in str(list(AuditEntry.objects.values_list("diff", "reason", "target")))


def test_a_given_value_stays_while_only_other_fields_change_and_ends_with_its_own(shelf: Stage, olga: Client) -> None:
    key = unnumbered(shelf)
    press(olga, only_held(shelf), do="fill", value="FR-45")
    shelf.sync()
    goods.edit_product(shelf.world, key, price="95")
    assert shelf.sync()["updated"] == 1
    assert skus(shelf) == ["FR-45"]
    shelf.set_flow()
    assert shelf.sync()["unchanged"] == 1
    goods.edit_product(shelf.world, key, item_code="FR-46")
    shelf.sync()
    assert skus(shelf) == ["FR-46"]
    with tenant_tx(shelf.tenant.pk):
        assert not Override.objects.exists()


def test_a_given_value_is_no_difference_to_a_comparison(shelf: Stage, olga: Client) -> None:
    unnumbered(shelf)
    press(olga, only_held(shelf), do="fill", value="FR-45")
    shelf.sync()
    report = compared(shelf)
    assert (report.agree, report.different) == (1, 0)


def test_a_value_that_cannot_be_one_is_refused_and_nothing_is_kept(on_stage: Stage, olga: Client) -> None:
    on_stage.world.add_patient(first_name="Mia", last_name="Chen", email="", accepted_privacy_policy=True)
    on_stage.sync()
    row = only_held(on_stage)
    assert row.code == "record.email_missing"
    assert "not a complete e-mail" in press(olga, row, do="fill", value="mia")
    assert "Type the value" in press(olga, row, do="fill", value=" ")
    with tenant_tx(on_stage.tenant.pk):
        assert not Override.objects.exists()
    assert only_held(on_stage).state == "held"


def test_a_given_value_is_taken_back(shelf: Stage, olga: Client) -> None:
    key = unnumbered(shelf)
    press(olga, only_held(shelf), do="fill", value="FR-45")
    shelf.sync()
    (row,) = shelf.deliveries(source_key=key)
    assert "Take the given value back" in olga.get(page_of(row)).content.decode()
    press(olga, row, do="take_back")
    shelf.sync()
    assert shelf.held() == {key: "product.sku_missing"}


# A line of a value map


def test_a_missing_status_is_mapped_at_the_desk_and_all_that_wait_for_it_go_out(
    on_stage: Stage, house: House, olga: Client
) -> None:
    on_stage.join(INVOICES)
    for _ in range(3):
        bills.add_invoice(on_stage.world, [{"price": "100", "rate": 0}], status=77)
    bills.add_invoice(on_stage.world, [{"price": "100", "rate": 0}], status=78)
    on_stage.sync()
    assert sorted(on_stage.held().values()) == ["unmapped_value"] * 4
    row = next(row for row in on_stage.deliveries(state="held") if row.codes[0]["field"] == "status 77")
    page = olga.get(page_of(row)).content.decode()
    assert "Invoice status 77 becomes" in page and "Keep it and try all 3 again" in page
    assert "Choose what 77 becomes" in press(olga, row, do="map", becomes="")
    assert "3 records are tried again" in press(olga, row, do="map", becomes="leave_unpaid")
    on_stage.sync()
    assert [one.codes[0]["field"] for one in on_stage.deliveries(state="held")] == ["status 78"]
    assert len(on_stage.shop.orders) == 3
    with tenant_tx(on_stage.tenant.pk):
        assert ValueMap.objects.get().target_value == "leave_unpaid"
        revision = FlowRevision.objects.filter(flow_id=on_stage.flow_id).first()
        assert revision.note == "Invoice status 77, from the error desk"
        assert revision.author_id == house.olga.pk


def test_an_action_nobody_knows_is_refused_and_publishes_nothing(on_stage: Stage, olga: Client) -> None:
    on_stage.join(INVOICES)
    bills.add_invoice(on_stage.world, [{"price": "100", "rate": 0}], status=77)
    on_stage.sync()
    assert "choose one of" in press(olga, only_held(on_stage), do="map", becomes="burn")
    with tenant_tx(on_stage.tenant.pk):
        assert not ValueMap.objects.exists()


# People


@pytest.fixture
def flow(house: House) -> Flow:
    return make_flow(house.harbour)


def test_a_record_is_given_to_somebody_and_found_by_them(flow: Flow, house: House, olga: Client) -> None:
    row = hold(flow, "1", code="record.email_missing")
    hold(flow, "2", code="record.email_missing")
    assert "is given to olga@example.test" in press(olga, row, do="assign", to="olga@example.test")
    listed = olga.get("/clinic/integrations/delivery/?assignee=olga@example.test")
    assert [one["pk"] for one in listed.context["rows"]] == [row.pk]
    assert "given to olga@example.test" in listed.content.decode()
    for stranger in ("rita@example.test", "vik@example.test", "nobody@example.test"):
        assert "Choose somebody" in press(olga, row, do="assign", to=stranger)
    press(olga, row, do="assign", to="")
    with tenant_tx(flow.tenant_id):
        assert not Assignment.objects.exists()


def test_a_clinic_does_not_see_the_agencys_people_and_the_agency_sees_both(flow: Flow, house: House) -> None:
    hold(flow, "1")
    with tenant_tx(flow.tenant_id):
        row = Delivery.objects.select_related("flow").get()
        assert [name for name, _ in handling.people_for(row)] == ["olga@example.test"]
    people = sign_in(house.ana).get(f"/agency/integrations/delivery/{row.pk}/change/").context["people"]
    assert {name for name, _ in people} == {"ana@example.test", "olga@example.test", "sam@example.test"}


def test_a_comment_stays_with_the_record_when_a_newer_wish_replaces_it(flow: Flow, house: House, olga: Client) -> None:
    first = hold(flow, "1")
    press(olga, first, do="comment", text="I rang them.  They will call back.")
    assert "Write something" in press(olga, first, do="comment", text=" ")
    with tenant_tx(flow.tenant_id):
        Delivery.objects.filter(pk=first.pk).update(state="done", outcome="superseded")
        assert Comment.objects.get().text == "I rang them. They will call back."
    second = hold(flow, "1")
    for person in (house.olga, house.vik):
        assert "They will call back." in sign_in(person).get(page_of(second)).content.decode()


@pytest.mark.parametrize("do", ["map", "fill", "comment", "assign", "take_back"])
def test_a_viewer_does_none_of_it(flow: Flow, house: House, do: str) -> None:
    row = hold(flow, "1", code="record.email_missing")
    form = {"do": do, "value": "a@example.com", "becomes": "x", "text": "x", "to": "olga@example.test"}
    assert sign_in(house.vik).post(page_of(row), form).status_code == 403


# From one to the next, and lanes


def test_the_next_record_is_of_the_kind_that_was_asked_for(flow: Flow, olga: Client) -> None:
    now = app_now()
    for number, code in enumerate(("match.several", "field.conflict", "match.several", "match.several")):
        hold(flow, str(number), code=code, held_at=now - timedelta(minutes=number))
    listed = olga.get("/clinic/integrations/delivery/?code=match.several").context["rows"]
    assert len(listed) == 3
    first = olga.get(listed[0]["url"])
    assert (first.context["newer_url"], first.context["older_url"]) == ("", listed[1]["url"])
    middle = olga.get(listed[1]["url"])
    assert (middle.context["newer_url"], middle.context["older_url"]) == (listed[0]["url"], listed[2]["url"])
    done = olga.post(listed[1]["url"], {"do": "retry"})
    assert done.headers["Location"] == listed[2]["url"]


def test_what_a_clinic_left_too_long_is_the_agencys_as_well(flow: Flow, house: House, settings: object) -> None:
    now = app_now()
    hold(flow, "1", code="record.email_missing", held_at=now - timedelta(days=15))
    hold(flow, "2", code="record.email_missing", held_at=now - timedelta(days=13))
    listed = sign_in(house.ana).get("/agency/integrations/delivery/?owner=agency")
    assert [row["cells"][2]["text"] for row in listed.context["rows"]] == ["1"]
    assert "it waits too long" in listed.content.decode()
    with tenant_tx(flow.tenant_id):
        own = Chosen(owner="clinic").narrow(desk.on_desk(now), now)
        assert own.count() == 2


def test_a_change_of_the_flow_counts_for_what_is_tried_again(on_stage: Stage, olga: Client) -> None:
    """A held draft was made by the revision of its time; tried again, it is made by the present one."""
    on_stage.world.add_patient(first_name="Mia", last_name="Chen", email="", accepted_privacy_policy=True)
    on_stage.sync()
    row = only_held(on_stage)
    with tenant_tx(on_stage.tenant.pk, actor="olga"):
        flow = Flow.objects.get(pk=on_stage.flow_id)
        configure(
            flow, by=By("olga", "clinic_manager"), config=replace(config_of(flow), settings={"missing_email": "create"})
        )
        Flow.objects.filter(pk=flow.pk).update(wants_full_pass=False)
    press(olga, row, do="retry")
    on_stage.sync()
    assert on_stage.held() == {}
    assert len(on_stage.customers()) == 1
