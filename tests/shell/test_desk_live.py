"""The desk's pages that ask a vendor, and what a decision comes to, over loopback HTTP (C17, C15, ask 5)."""

from collections.abc import Iterator

import pytest
from django.test import Client

from integrations.models import Delivery, Link, SyncLogEntry
from tenants.walls import tenant_tx
from tests.conftest import House, sign_in
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

MIA = {"first_name": "Mia", "last_name": "Chen", "email": "mia@example.com", "accepted_privacy_policy": True}
ANN = {"firstName": "Ann", "lastName": "Nguyen", "email": "mia@example.com"}


@pytest.fixture
def on_stage(house: House) -> Iterator[Stage]:
    with stage(house.harbour) as built:
        open_wide(built)
        yield built


@pytest.fixture
def olga(house: House) -> Client:
    return sign_in(house.olga)


def held(on_stage: Stage) -> Delivery:
    """Mia, whose e-mail Ann already has in the shop."""
    on_stage.shop.create(ANN)
    on_stage.world.add_patient(**MIA)
    on_stage.sync()
    (delivery,) = on_stage.deliveries(state="held")
    return delivery


def page_of(delivery: Delivery) -> str:
    return f"/clinic/integrations/delivery/{delivery.pk}/change/"


def test_the_draft_stands_beside_the_customer_as_it_is_now(on_stage: Stage, olga: Client) -> None:
    delivery = held(on_stage)
    writes = on_stage.shopify.vendor.writes()
    text = olga.get(page_of(delivery)).content.decode()
    for said in ("Mia", "Ann", "Nguyen", "mia@example.com", "It is this one", "Create without the e-mail", "same"):
        assert said in text, said
    assert on_stage.shopify.vendor.writes() == writes


def test_a_viewer_sees_both_sides_masked(on_stage: Stage, house: House) -> None:
    text = sign_in(house.vik).get(page_of(held(on_stage))).content.decode()
    assert "N***" in text
    assert "m***@e***.com" in text
    for value in ("Nguyen", "Ann<", "mia@example.com"):
        assert value not in text


def test_the_chosen_customer_is_updated_and_linked(on_stage: Stage, olga: Client) -> None:
    delivery = held(on_stage)
    (ann,) = delivery.candidates
    olga.post(page_of(delivery), {"do": "choose", "key": ann})
    on_stage.sync()
    assert on_stage.links() == {delivery.source_key: ann}
    (customer,) = on_stage.customers()
    assert customer["firstName"] == "Mia"


def test_a_person_created_without_the_email_stays_that_way(on_stage: Stage, olga: Client) -> None:
    delivery = held(on_stage)
    olga.post(page_of(delivery), {"do": "without"})
    on_stage.sync()
    assert on_stage.held() == {}
    assert sorted(customer["email"] or "" for customer in on_stage.customers()) == ["", "mia@example.com"]
    on_stage.set_flow()
    assert on_stage.sync()["unchanged"] == 1


def test_a_customer_who_went_away_meanwhile_is_said_to_be_gone(on_stage: Stage, olga: Client) -> None:
    delivery = held(on_stage)
    on_stage.shop.remove(int(delivery.candidates[0]))
    assert "No longer there" in olga.get(page_of(delivery)).content.decode()


def linked(on_stage: Stage, *, others: int = 1) -> Link:
    on_stage.world.add_patient(**MIA)
    on_stage.sync()
    for number in range(others):
        on_stage.shop.create({"firstName": "Other", "lastName": "Person", "email": f"other{number}@example.com"})
    with tenant_tx(on_stage.tenant.pk):
        found: Link = Link.objects.get()
    return found


def test_a_link_pointed_elsewhere_moves_the_marker_and_everything_else(on_stage: Stage, olga: Client) -> None:
    link = linked(on_stage)
    other = next(customer for customer in on_stage.customers() if customer["email"] == "other0@example.com")
    key = str(other["id"]).rpartition("/")[2]
    olga.post(f"/clinic/integrations/link/{link.pk}/change/", {"do": "relink", "key": key, "reason": "twin"})
    assert on_stage.links() == {link.source_key: key}
    old = next(customer for customer in on_stage.customers() if str(customer["id"]).endswith(link.target_key))
    assert "suture.cliniko_patient_id" not in old["metafields"]
    on_stage.shop.store(old | {"email": "old@example.com"})  # the shop's owner frees the address
    on_stage.sync()
    new = next(customer for customer in on_stage.customers() if str(customer["id"]).endswith(key))
    assert "suture.cliniko_patient_id" in new["metafields"]


def test_a_target_that_is_not_there_is_refused(on_stage: Stage, olga: Client) -> None:
    link = linked(on_stage, others=0)
    page = f"/clinic/integrations/link/{link.pk}/change/"
    answer = olga.post(page, {"do": "relink", "key": "999999", "reason": "typo"}, follow=True)
    assert "there is no 999999" in answer.content.decode()
    assert on_stage.links() == {link.source_key: link.target_key}


def test_an_unlinked_record_is_not_found_again_by_its_marker(on_stage: Stage, olga: Client) -> None:
    link = linked(on_stage, others=0)
    olga.post(f"/clinic/integrations/link/{link.pk}/change/", {"do": "unlink", "reason": "wrong person"})
    assert on_stage.links() == {}
    (customer,) = on_stage.customers()
    assert "suture.cliniko_patient_id" not in customer["metafields"]


def test_a_flow_in_preview_takes_no_marker_off(on_stage: Stage, olga: Client) -> None:
    link = linked(on_stage, others=0)
    on_stage.set_flow(mode="preview")
    writes = on_stage.shopify.vendor.writes()
    olga.post(f"/clinic/integrations/link/{link.pk}/change/", {"do": "unlink", "reason": "wrong person"})
    assert on_stage.shopify.vendor.writes() == writes


def test_a_person_is_found_by_email_with_the_way_to_their_log(on_stage: Stage, olga: Client) -> None:
    link = linked(on_stage)
    answer = olga.post("/clinic/integrations/synclogentry/find/", {"email": " MIA@example.com "})
    text = answer.content.decode()
    assert link.target_key in text
    assert f"?q={link.source_key}" in text
    with tenant_tx(on_stage.tenant.pk):
        for entry in SyncLogEntry.objects.all():
            assert "mia" not in str(entry.__dict__).lower()


def test_a_person_who_is_nobody_there_is_said_to_be(on_stage: Stage, olga: Client) -> None:
    answer = olga.post("/clinic/integrations/synclogentry/find/", {"email": "no.one@example.com"})
    assert "Nobody there has this address" in answer.content.decode()
