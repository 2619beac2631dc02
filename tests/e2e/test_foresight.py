"""What an explanation foretells is what the next sync does, for every way a record can stand (B1, C03, C08, C15-C18)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.connectors.cliniko import sandbox_people
from integrations.connectors.shopify.sandbox_call import gid
from integrations.connectors.shopify.sandbox_orders import MUTATIONS
from integrations.models import Connection, Delivery, Flow, Link, SyncLogEntry
from integrations.services import desk, linking
from integrations.services.explain import Explanation, explain
from integrations.services.foresight import Next
from integrations.services.wording import Wording
from tenants.models import Tenant
from tenants.walls import app_now, tenant_tx
from tests.conftest import House
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

MIA = {"first_name": "Mia", "last_name": "Chen", "email": "mia@example.com", "accepted_privacy_policy": True}
OUTCOMES = {"ok", "preview"}


@pytest.fixture
def on_stage(harbour: Tenant) -> Iterator[Stage]:
    with stage(harbour) as built, override_settings(SUTURE_PARENT_WAIT_S=0.1, SUTURE_OVERLAP_S=1):
        open_wide(built)
        yield built


@pytest.fixture
def trade(house: House) -> Iterator[Stage]:
    """All five flows of a practice and its shop; ``sync`` and ``tell`` are about the flow that was joined last."""
    with stage(house.harbour) as built, override_settings(SUTURE_PARENT_WAIT_S=0.1):
        built.join("products-to-products")
        open_wide(built)
        yield built


def tell(on_stage: Stage, key: str) -> Explanation:
    return explain(on_stage.tenant.pk, on_stage.flow_id, key)


def ahead(on_stage: Stage, key: str) -> Next:
    return tell(on_stage, key).foreseen.next


def verdicts(told: Explanation) -> dict[str, str]:
    return {one.name: str(one.verdict) for one in told.fields}


def lines(on_stage: Stage, key: str, after: int) -> list[SyncLogEntry]:
    """What the log says of the record since, but for lines that only say that it will be tried again."""
    with tenant_tx(on_stage.tenant.pk):
        told = SyncLogEntry.objects.filter(source_key=key, flow_id=on_stage.flow_id, pk__gt=after)
        return list(told.exclude(outcome="retry").order_by("pk"))


def newest(on_stage: Stage) -> int:
    with tenant_tx(on_stage.tenant.pk):
        return SyncLogEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def outcome(on_stage: Stage, key: str, after: int) -> tuple[str, str, frozenset[str]]:
    """What became of the record: in the words of ``Next``, with its code and the fields that were written."""
    told = [line for line in lines(on_stage, key, after) if line.action != "move"]
    if not told or told[-1].outcome == "same":
        return "nothing", "", frozenset()
    last = told[-1]
    if last.outcome in OUTCOMES:
        return str(last.action), "", frozenset(last.fields)
    return ("hold" if last.outcome == "held" else "skip"), last.code, frozenset()


def comes_true(on_stage: Stage, key: str, sync: Callable[[], object] | None = None) -> Next:
    """Explains, syncs, and holds the one against the other."""
    told = ahead(on_stage, key)
    after = newest(on_stage)
    (sync or on_stage.sync)()
    happened = outcome(on_stage, key, after)
    assert happened == (told.action, told.code if told.action in {"hold", "skip"} else "", frozenset(told.writes))
    return told


def only_customer(on_stage: Stage) -> Any:
    (customer,) = on_stage.customers()
    return customer


# -- patients: the ordinary life of a record


def test_a_new_patient_is_created(on_stage: Stage) -> None:
    key = str(on_stage.world.add_patient(**MIA, phone="0400 000 001"))
    told = comes_true(on_stage, key)
    assert (told.action, told.when) == ("create", "pass")
    assert {"email", "phone", "firstName"} <= set(told.writes)


def test_what_both_sides_agree_on_is_left_alone(on_stage: Stage) -> None:
    """B1: the rebuilt wish has the digest that was kept."""
    key = str(on_stage.world.add_patient(**MIA))
    on_stage.sync()
    told = tell(on_stage, key)
    assert told.foreseen.is_as_delivered
    assert told.changed_fields == ()
    assert set(verdicts(told).values()) <= {"same", "unmade"}
    assert comes_true(on_stage, key).action == "nothing"


def test_an_edit_at_the_source_writes_that_field_and_nothing_else(on_stage: Stage) -> None:
    key = str(on_stage.world.add_patient(**MIA))
    on_stage.sync()
    on_stage.world.edit_patient(key, first_name="Mya")
    told = tell(on_stage, key)
    assert not told.foreseen.is_as_delivered
    assert "firstName" in told.changed_fields
    assert "lastName" not in told.changed_fields
    assert set(comes_true(on_stage, key).writes) == {"firstName", "address.firstName"} & set(told.foreseen.next.writes)


def test_an_edit_at_the_target_stays_until_the_source_changes(on_stage: Stage) -> None:
    """The gate sees the source alone: nothing is written, and the page says so instead of promising."""
    key = str(on_stage.world.add_patient(**MIA))
    on_stage.sync()
    on_stage.shop.store(only_customer(on_stage) | {"lastName": "Cheng"})
    told = tell(on_stage, key)
    assert verdicts(told)["lastName"] == "stays"
    assert [one.name for one in told.fields if one.changed_there] == ["lastName"]
    assert comes_true(on_stage, key).action == "nothing"
    on_stage.world.edit_patient(key, first_name="Mya")
    assert "lastName" in comes_true(on_stage, key).writes
    assert only_customer(on_stage)["lastName"] == "Chen"


def test_what_the_customer_chose_in_the_shop_is_kept(on_stage: Stage) -> None:
    key = str(on_stage.world.add_patient(**MIA, accepted_email_marketing=True))
    on_stage.sync()
    on_stage.shop.store(only_customer(on_stage) | {"emailState": "UNSUBSCRIBED"})
    on_stage.world.edit_patient(key, first_name="Mya")
    assert verdicts(tell(on_stage, key))["emailMarketing"] == "kept"
    assert "emailMarketing" not in comes_true(on_stage, key).writes


def test_a_patient_without_an_email_waits_for_a_person(on_stage: Stage) -> None:
    key = str(on_stage.world.add_patient(**MIA | {"email": None}))
    told = comes_true(on_stage, key)
    assert (told.action, told.code, told.when) == ("hold", "record.email_missing", "pass")
    told = ahead(on_stage, key)
    assert (told.action, told.code, told.when) == ("hold", "record.email_missing", "desk")
    on_stage.world.edit_patient(key, email="mia@example.com")
    told = comes_true(on_stage, key)
    assert (told.action, told.when) == ("create", "pass")


def test_a_family_email_is_held_with_its_candidate(on_stage: Stage) -> None:
    """C17."""
    on_stage.world.add_patient(**MIA)
    on_stage.sync()
    leo = str(on_stage.world.add_patient(**MIA | {"first_name": "Leo"}))
    told = comes_true(on_stage, leo)
    assert (told.action, told.code) == ("hold", "match.shared_email")
    assert list(told.candidates) == list(on_stage.links().values())


def test_what_a_person_decides_is_foretold_from_the_desk(on_stage: Stage) -> None:
    """Tried again, the held one would go the way the desk's decision sends it."""
    on_stage.world.add_patient(**MIA)
    leo = str(on_stage.world.add_patient(**MIA | {"first_name": "Leo"}))
    on_stage.sync()
    assert (ahead(on_stage, leo).when, ahead(on_stage, leo).action) == ("desk", "hold")
    with tenant_tx(on_stage.tenant.pk):
        desk.create_without(Delivery.objects.get(state="held"), fields=["email"])
    told = comes_true(on_stage, leo)
    assert (told.action, told.when) == ("create", "due")
    assert "email" not in told.writes


def test_a_shared_phone_is_told_as_left_out(on_stage: Stage) -> None:
    on_stage.world.add_patient(**MIA, phone="0400 000 001")
    on_stage.sync()
    leo = on_stage.world.add_patient(first_name="Leo", last_name="Ng", email="leo@example.com", phone="0400 000 001")
    told = tell(on_stage, str(leo))
    (phone,) = [one for one in told.fields if one.name == "phone"]
    assert (phone.verdict, phone.code) == ("dropped", "match.shared_phone")
    assert "phone" not in comes_true(on_stage, str(leo)).writes


def test_an_unlinked_customer_that_fits_is_taken(on_stage: Stage) -> None:
    on_stage.shop.create({"firstName": "M.", "lastName": "chen", "email": "mia@example.com"})
    key = str(on_stage.world.add_patient(**MIA))
    told = tell(on_stage, key)
    assert told.foreseen.link is None
    assert told.foreseen.current is not None
    assert comes_true(on_stage, key).action == "update"


def test_a_customer_that_is_gone_is_held(on_stage: Stage) -> None:
    key = str(on_stage.world.add_patient(**MIA))
    on_stage.sync()
    on_stage.shop.remove(int(on_stage.links()[key]))
    on_stage.world.edit_patient(key, first_name="Mya")
    told = tell(on_stage, key)
    assert told.foreseen.is_target_gone
    assert comes_true(on_stage, key).code == "link.target_gone"


def test_a_patient_who_refused_is_left_out(on_stage: Stage) -> None:
    key = str(on_stage.world.add_patient(**MIA | {"accepted_privacy_policy": False}))
    assert comes_true(on_stage, key).code == "record.privacy_refused"


def test_an_archived_patient_is_tagged_or_was_never_sent(on_stage: Stage) -> None:
    """Ask 17."""
    key = str(on_stage.world.add_patient(**MIA))
    never = str(on_stage.world.add_patient(**MIA | {"email": "other@example.com"}))
    on_stage.world.archive(never)
    assert comes_true(on_stage, never).code == "record.archived_unlinked"
    on_stage.world.archive(key)
    told = comes_true(on_stage, key)
    assert (told.action, told.writes) == ("archive", ("tag.inactive",))
    on_stage.world.unarchive(key)
    assert comes_true(on_stage, key).action == "update"


def test_a_merged_patient_is_explained_as_its_survivor(on_stage: Stage) -> None:
    """Ask 17: the link moves first, so the survivor is no stranger with a taken e-mail."""
    gone = str(on_stage.world.add_patient(**MIA))
    on_stage.sync()
    stays = str(on_stage.world.add_patient(**MIA | {"first_name": "Mya"}))
    on_stage.world.merge(gone, stays)
    told = tell(on_stage, gone)
    assert (told.foreseen.key, told.foreseen.merged, told.foreseen.link_fate) == (stays, (gone,), "moved")
    after = newest(on_stage)
    on_stage.sync()
    assert outcome(on_stage, stays, after) == (told.foreseen.next.action, "", frozenset(told.foreseen.next.writes))
    assert tell(on_stage, gone).foreseen.link is not None
    assert ahead(on_stage, gone).action == "nothing"


# -- modes, and what stands in the way


def test_a_preview_is_foretold_as_one(on_stage: Stage) -> None:
    on_stage.set_flow(mode="preview")
    key = str(on_stage.world.add_patient(**MIA))
    assert comes_true(on_stage, key).is_preview
    assert on_stage.writes == 0


def test_a_record_outside_the_pilot_is_left_out(on_stage: Stage) -> None:
    """K04."""
    listed = str(on_stage.world.add_patient(**MIA))
    other = str(on_stage.world.add_patient(**MIA | {"email": "other@example.com"}))
    on_stage.set_flow(mode="pilot", pilot_keys=[listed])
    assert ahead(on_stage, listed).action == "create"
    assert comes_true(on_stage, other).code == "mode.pilot"


def test_a_flow_that_is_off_says_what_it_would_do_and_that_it_is_off(on_stage: Stage) -> None:
    key = str(on_stage.world.add_patient(**MIA))
    on_stage.set_flow(mode="off")
    told = ahead(on_stage, key)
    assert (told.action, told.blocked) == ("create", "mode.off")
    on_stage.report()
    assert on_stage.customers() == []


def test_a_paused_connection_is_named(on_stage: Stage) -> None:
    key = str(on_stage.world.add_patient(**MIA))
    with tenant_tx(on_stage.tenant.pk):
        Connection.objects.filter(vendor="shopify").update(state="paused", state_code="connection.paused")
    assert ahead(on_stage, key).blocked == "connection.paused"


def test_a_record_older_than_the_start_is_left_out(on_stage: Stage) -> None:
    """K42."""
    key = str(on_stage.world.add_patient(**MIA, created_at="2020-01-01T00:00:00Z", updated_at="2020-01-01T00:00:00Z"))
    on_stage.set_flow(start="2026-01-01")
    assert comes_true(on_stage, key).code == "mode.before_start"


def test_a_record_that_no_pass_reads_is_not_promised_for_the_next(on_stage: Stage) -> None:
    """What differs though its source did not change lately waits for the next reading of everything."""
    key = str(on_stage.world.add_patient(**MIA))
    on_stage.sync()
    on_stage.world.edit_patient(key, first_name="Mya", updated_at="2020-01-01T00:00:00Z")
    told = ahead(on_stage, key)
    assert (told.action, told.when) == ("update", "later")
    after = newest(on_stage)
    on_stage.sync()
    assert lines(on_stage, key, after) == []
    on_stage.set_flow()
    assert comes_true(on_stage, key).when == "pass"


def test_an_unlinked_record_that_is_sent_again_is_foretold(on_stage: Stage) -> None:
    """C15: a link taken away by hand, with the record to be sent anew."""
    key = str(on_stage.world.add_patient(**MIA))
    on_stage.sync()
    with tenant_tx(on_stage.tenant.pk):
        linking.unlink(Link.objects.get(source_key=key), reason="wrong one", send_again=True)
    told = ahead(on_stage, key)
    assert told.when == "due"
    assert comes_true(on_stage, key).action == told.action


@contextmanager
def unwritten(on_stage: Stage) -> Iterator[None]:
    """Nothing is written inside, here or at a vendor; only the quota and the meters are told of the calls."""
    written: list[str] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        is_told = "quotabudget" in sql or "connectionday" in sql
        if sql.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")) and not is_told:
            written.append(sql)
        return execute(sql, params, many, context)

    writes = on_stage.writes
    with connection.execute_wrapper(note):
        yield
    assert written == []
    assert on_stage.writes == writes


def test_explaining_changes_nothing_here_or_there(on_stage: Stage) -> None:
    key = str(on_stage.world.add_patient(**MIA))
    on_stage.sync()
    on_stage.world.edit_patient(key, first_name="Mya")
    with unwritten(on_stage):
        tell(on_stage, key)


def test_a_customer_who_was_merged_in_the_shop_is_followed_and_only_by_the_sync(on_stage: Stage) -> None:
    """A37: the link follows the marker, once a delivery does it and not because somebody looked."""
    key = str(on_stage.world.add_patient(**MIA))
    on_stage.sync()
    (before,) = on_stage.links().values()
    on_stage.shop.create({"firstName": "M", "lastName": "C", "email": "m.c@example.com"})
    (other,) = set(on_stage.shop.customers) - {int(before)}
    on_stage.shop.merge(other, int(before))
    on_stage.world.edit_patient(key, first_name="Mya")
    with unwritten(on_stage):
        told = tell(on_stage, key)
    assert told.foreseen.current is not None
    assert told.foreseen.current.key == str(other)
    assert comes_true(on_stage, key).action == "update"
    assert on_stage.links() == {key: str(other)}


@pytest.mark.parametrize(("state", "action"), [("sending", "flying"), ("claimed", "flying"), ("uncertain", "looking")])
def test_what_is_on_its_way_is_said_to_be(on_stage: Stage, state: str, action: str) -> None:
    key = str(on_stage.world.add_patient(**MIA | {"email": None}))
    on_stage.sync()
    with tenant_tx(on_stage.tenant.pk):
        Delivery.objects.update(state=state)
    assert (ahead(on_stage, key).action, ahead(on_stage, key).when) == (action, "due")


# -- the other kinds


def test_a_products_life_is_foretold(trade: Stage) -> None:
    """C21, K13, K14."""
    key = str(goods.add_product(trade.world, name="Roller", item_code=None, price="90"))
    assert comes_true(trade, key).code == "product.sku_missing"
    goods.edit_product(trade.world, key, item_code="FR-1")
    assert comes_true(trade, key).action in {"create", "hold"}
    goods.edit_product(trade.world, key, price="95.5")
    comes_true(trade, key)


def test_a_stock_level_waits_for_its_product_and_follows(trade: Stage) -> None:
    """K03."""
    (location,) = trade.shop.locations
    trade.join("stock-to-inventory", location=str(location))
    tax = goods.add_tax(trade.world, name="GST", rate="10.0")
    key = str(
        goods.add_product(trade.world, name="Roller", item_code="FR-1", price="90", tax_id=tax, stock_level="12.0")
    )
    told = ahead(trade, key)
    assert (told.action, told.code) in {("hold", "parent.missing"), ("wait", "")}
    assert told.waits_for == (f"products/{key}",)
    trade.sync_all()
    assert ahead(trade, key).action == "nothing"
    goods.adjust(trade.world, key, "-2", "Damaged")
    assert comes_true(trade, key, trade.sync_all).writes == ("available",)


def test_an_invoice_waits_for_its_customer_and_follows(trade: Stage) -> None:
    """C18, C19: what it waits for is named."""
    trade.join("invoices-to-orders")
    patient = str(trade.world.add_patient(**MIA | {"email": None}))
    key = str(bills.add_invoice(trade.world, [{"price": "100", "rate": 0}], patient_id=patient, status=10))
    told = comes_true(trade, key, trade.sync_all)
    assert (told.action, told.code, told.waits_for) == ("hold", "parent.missing", (f"patients/{patient}",))
    with tenant_tx(trade.tenant.pk):
        Flow.objects.update(next_due_at=app_now() + timedelta(hours=1))
    with unwritten(trade):  # a delivery would ring for the patients' flow
        ahead(trade, key)
    assert ahead(trade, key).when == "desk"
    trade.world.edit_patient(patient, email="mia@example.com")
    trade.sync_all()
    assert ahead(trade, key).action == "nothing"
    bills.edit_invoice(trade.world, key, status=20)
    assert comes_true(trade, key, trade.sync_all).writes == ("payment",)
    told_now = tell(trade, key)
    (customer,) = [one for one in told_now.fields if one.name == "customer"]
    assert (customer.before, customer.made, customer.there) == (patient, patient, trade.links()[patient])
    assert customer.verdict == "same"


def test_a_sale_is_foretold(trade: Stage) -> None:
    """V9: a movement of the shop's own orders, the link reversed."""
    tax = goods.add_tax(trade.world, name="GST", rate="10.0")
    key = str(
        goods.add_product(trade.world, name="Roller", item_code="FR-1", price="90", tax_id=tax, stock_level="10.0")
    )
    trade.sync_all()
    trade.join("shop-sales-to-stock-adjustments", start="activation")
    trade.sync_all()
    (variant,) = trade.shop.products[int(trade.links()[key])]["variants"]
    line = {"variantId": gid("ProductVariant", variant["id"]), "quantity": 2, "taxable": True, "requiresShipping": True}
    order = MUTATIONS["orderCreate"](trade.shop, {"order": {"lineItems": [line]}})["order"]
    sale = f"{order['id']}-{order['lines'][0]['id']}"
    assert comes_true(trade, sale, trade.sync_all).action == "create"
    assert ahead(trade, sale).action == "nothing"


# -- many at once


@pytest.mark.parametrize("seed", range(3))
def test_of_many_records_edited_on_both_sides_every_one_is_foretold(on_stage: Stage, seed: int) -> None:
    """B1: the foretelling and the sync decide by the same code, whatever came together."""
    random = Random(seed)
    keys = [
        str(on_stage.world.add_patient(**MIA | {"email": f"p{number}@example.com"}, accepted_email_marketing=True))
        for number in range(12)
    ]
    on_stage.sync()
    for key in keys:
        _disturb_source(on_stage, random, key)
        _disturb_target(on_stage, random, on_stage.links()[key])
    told = {key: ahead(on_stage, key) for key in keys}
    after = newest(on_stage)
    counts = on_stage.sync()
    happened = {key: outcome(on_stage, key, after) for key in keys}
    quiet = {key for key, one in told.items() if one.action == "skip"}  # the log tells of a skip once
    assert counts["skipped"] == len(quiet)
    assert {key: became for key, became in happened.items() if key not in quiet} == {
        key: (one.action, one.code if one.action == "hold" else "", frozenset(one.writes))
        for key, one in told.items()
        if key not in quiet
    }
    assert {one.code for one in told.values() if one.action == "skip"} <= {"record.privacy_refused"}
    assert len({one.action for one in told.values()}) > 2


@pytest.mark.parametrize("count", [30, pytest.param(1_000, marks=pytest.mark.proof)])
def test_the_digest_that_was_kept_is_rebuilt_or_the_page_names_what_changed(on_stage: Stage, count: int) -> None:
    """B1: a live reading makes the very wish that was delivered, or the explanation says which input changed since."""
    random = Random(count)
    keys = [str(key) for key in sandbox_people.fill(on_stage.world, count)]
    on_stage.set_flow(settings={"missing_email": "create", "shared_email": "create"})
    on_stage.sync(max_wait_s=300)
    edited = {key for key in keys if random.random() < 0.3}
    for key in edited:
        on_stage.world.edit_patient(key, first_name=f"Edited{key[-3:]}")
    linked = on_stage.links()
    assert len(linked) > count * 0.8
    wrong = {}
    for key in linked:
        told = tell(on_stage, key)
        is_same = told.foreseen.is_as_delivered
        names_it = "firstName" in told.changed_fields and "First name" in words_of(told).since(told)
        if is_same == (key in edited) or names_it != (key in edited):
            wrong[key] = (key in edited, is_same, told.changed_fields)
    assert wrong == {}


def words_of(told: Explanation) -> Wording:
    return Wording(told.foreseen.job.kind, ZoneInfo("Australia/Sydney"), masked=False)


def _disturb_source(on_stage: Stage, random: Random, key: str) -> None:
    what = random.choice(("nothing", "name", "email", "no email", "phone", "archive", "refuse", "consent"))
    given: dict[str, dict[str, object]] = {
        "name": {"first_name": f"N{random.randrange(9)}"},
        "email": {"email": f"new{key}@example.com"},
        "no email": {"email": None},
        "refuse": {"accepted_privacy_policy": False},
        "consent": {"accepted_email_marketing": False},
    }
    if what == "archive":
        on_stage.world.archive(key)
    elif what == "phone":
        on_stage.world.edit_patient(key, patient_phone_numbers=[{"number": "0400 111 222", "phone_type": "Mobile"}])
    elif what in given:
        on_stage.world.edit_patient(key, **given[what])


def _disturb_target(on_stage: Stage, random: Random, key: str) -> None:
    customer = on_stage.shop.customers[int(key)]
    what = random.choice(("nothing", "nothing", "name", "consent", "gone"))
    if what == "name":
        on_stage.shop.store(customer | {"lastName": "Elsewhere"})
    elif what == "consent":
        on_stage.shop.store(customer | {"emailState": "UNSUBSCRIBED"})
    elif what == "gone":
        on_stage.shop.remove(int(key))
