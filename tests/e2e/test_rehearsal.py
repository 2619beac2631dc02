"""What a rehearsal foretells is what happens once the proposal is published (B2).

Predictions are held against the deliveries, the log and the shop's own rows, record by record. `make test` plays one
clinic, `make proof` twenty.
"""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

import pytest
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.core.rules import Rule
from integrations.flows.kind import Config
from integrations.models import Delivery, Flow, Link, Prediction, Rehearsal, SyncLogEntry
from integrations.services import proposals, rehearsal
from integrations.services.changes import OPERATOR
from integrations.services.configured import config_of
from integrations.services.jobs import load_job
from integrations.services.merges import links_of
from tenants.models import Tenant
from tenants.services import add_tenant
from tenants.walls import app_now, tenant_tx
from tests.conftest import House
from tests.stage import KIND, Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

INVOICES = "invoices-to-orders"
WRITTEN = ("create", "update", "archive")
FAMILIES = ("Chen", "Ng", "Okafor")


@dataclass(frozen=True)
class Told:
    """What became, or would become, of a record."""

    action: str
    code: str = ""
    fields: frozenset[str] = frozenset()


# -- a clinic's life


def populate(built: Stage, random: Random) -> None:
    """Families that share addresses and phones, customers that were there before, patients without an e-mail, who
    refused, who are archived; invoices in every state."""
    for number in range(14):
        family = random.choice(FAMILIES)
        email = f"{random.choice('abcdefgh')}.{family.lower()}@example.com"
        phone = f"0400 000 {random.randrange(8):03}"
        if random.random() < 0.4:
            built.shop.create(
                {"firstName": "Old", "lastName": family, "email": f"was.{number}@example.com", "phone": e164(phone)}
            )
        if random.random() < 0.4:
            built.shop.create({"firstName": "Old", "lastName": family, "email": email})
        given = {"first_name": f"given{number}", "last_name": family, "email": email, "accepted_privacy_policy": True}
        odd = random.random()
        if odd < 0.1:
            given["email"] = None
        elif odd < 0.2:
            given["accepted_privacy_policy"] = False
        key = built.world.add_patient(**given, phone=phone)
        if odd > 0.93:
            built.world.archive(key)
    keys = list(built.world.first.patients)
    for _ in range(10):
        patient = random.choice(keys) if random.random() < 0.6 else None
        status = random.choice((10, 10, 20, 30))
        bills.add_invoice(
            built.world, [{"price": str(random.randrange(20, 90)), "rate": 0}], patient_id=patient, status=status
        )


def e164(phone: str) -> str:
    return f"+61{phone.replace(' ', '').removeprefix('0')}"


def disturb(built: Stage, random: Random) -> None:
    """What happens between two changes: edits on both sides, a new patient, a new invoice."""
    keys = [key for key, row in built.world.first.patients.items() if not row.get("archived_at")]
    built.world.edit_patient(random.choice(keys), first_name=f"edited{random.randrange(99)}")
    built.world.add_patient(
        first_name="new", last_name=random.choice(FAMILIES), email=f"{random.choice('abcdefgh')}.new@example.com",
        accepted_privacy_policy=True,
    )  # fmt: skip
    bills.add_invoice(built.world, [{"price": "50", "rate": 0}], status=random.choice((10, 20)))
    customer = random.choice(list(built.shop.customers.values()))
    built.shop.store(customer | {"lastName": "Elsewhere"})


# -- three changes


def status_mapping(config: Config, random: Random) -> Config:
    lines = random.choice(({"10": "mark_paid"}, {"10": "ignore"}, {"20": "leave_unpaid"}, {"30": "hold"}))
    return replace(config, value_maps={"status": lines})


def transform(config: Config, random: Random) -> Config:
    name, source = random.choice((("firstName", "first_name"), ("lastName", "last_name")))
    return replace(config, rules=(Rule(name, source, ("single_line", "upper")),))


def matching_order(config: Config, random: Random) -> Config:
    return replace(config, settings={**config.settings, "match_first": random.choice(("email", "phone"))})


CHANGES = ((INVOICES, status_mapping), (KIND, transform), (KIND, matching_order))


def flow_of(built: Stage, name: str) -> Flow:
    flow: Flow = Flow.objects.select_related("source", "target").get(name=name)
    return flow


def rehearsed(built: Stage, name: str, config: Config) -> Rehearsal:
    with tenant_tx(built.tenant.pk):
        row = rehearsal.rehearse_config(flow_of(built, name), config, by=OPERATOR, note="B2", now=app_now())
    return rehearsal.carry_through(built.tenant.pk, row.pk, max_wait_s=30)


def predicted(built: Stage, row: Rehearsal) -> dict[str, Told]:
    with tenant_tx(built.tenant.pk):
        rows = list(Prediction.objects.filter(rehearsal_id=row.pk))
    return {one.source_key: Told(one.action, one.code, frozenset(one.fields)) for one in rows}


# -- what really happened


def rows_of_shop(built: Stage, name: str) -> dict[str, object]:
    """The flow's own kind of rows: a new link may let another flow's records go on as well."""
    rows = built.shop.orders if name == INVOICES else built.shop.customers
    return {str(key): copy.deepcopy(row) for key, row in rows.items()}


def published_and_synced(built: Stage, row: Rehearsal) -> tuple[dict[str, Told], dict[str, int]]:
    """What became of every record of the flow by the deliveries and the log, held against what the shop's rows say."""
    with tenant_tx(built.tenant.pk):
        flow = Flow.objects.get(pk=row.flow_id)
        newest = SyncLogEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        proposals.publish(row.proposal, by=OPERATOR)
    before = rows_of_shop(built, flow.name)
    counts = built.sync_all(flow_name=flow.name)[flow.name]
    after = rows_of_shop(built, flow.name)
    with tenant_tx(built.tenant.pk):
        lines = list(
            SyncLogEntry.objects.filter(flow_id=flow.pk, pk__gt=newest).exclude(outcome="retry").order_by("pk")
        )
        held = dict(Delivery.objects.filter(flow_id=flow.pk, state="held").values_list("source_key", "code"))
        links = dict(Link.objects.filter(links_of(load_job(flow.pk))).values_list("source_key", "target_key"))
    told = {line.source_key: becoming(line) for line in lines}
    told |= {key: Told("hold", code) for key, code in held.items()}
    assert_the_shop_says_so(told, links, before, after)
    return told, counts


def becoming(line: SyncLogEntry) -> Told:
    if line.outcome == "ok":
        return Told(str(line.action), "", frozenset(line.fields))
    return Told("nothing") if line.outcome == "same" else Told("skip", line.code)


def assert_the_shop_says_so(
    told: Mapping[str, Told], links: Mapping[str, str], before: Mapping[str, object], after: Mapping[str, object]
) -> None:
    """New rows are those of creates, changed ones those of updates, and nothing else moved."""
    made = {links[key] for key, one in told.items() if one.action == "create"}
    edited = {links[key] for key, one in told.items() if one.action in ("update", "archive")}
    assert after.keys() - before.keys() == made
    assert {key for key in before.keys() & after.keys() if before[key] != after[key]} == edited
    assert before.keys() <= after.keys()


def differences(told: Mapping[str, Told], happened: Mapping[str, Told], counts: Mapping[str, int]) -> dict[str, object]:
    """Every record of which something else was foretold than happened. The log tells of a skip once, and of nothing
    never, so these are what is left over."""
    quiet = {
        key: happened.get(key, Told("skip" if one.action == "skip" else "nothing", one.code))
        for key, one in told.items()
    }
    wrong: dict[str, object] = {key: (one, quiet[key]) for key, one in told.items() if one != quiet[key]}
    wrong |= {key: (None, one) for key, one in happened.items() if key not in told and one.action in (*WRITTEN, "hold")}
    skipped = sum(one.action == "skip" for one in told.values())
    if skipped != counts["skipped"]:
        wrong["skipped"] = (skipped, counts["skipped"])
    if len(told) != counts["read"]:
        wrong["read"] = (len(told), counts["read"])
    return wrong


@pytest.fixture
def clinics(house: House, request: pytest.FixtureRequest) -> list[Tenant]:
    return [
        add_tenant(agency=house.agency, slug=f"b2-{number}", name=f"B2 {number}") for number in range(request.param)
    ]


@pytest.mark.parametrize("clinics", [1, pytest.param(20, marks=pytest.mark.proof)], indirect=True)
def test_b2_every_record_ends_as_it_was_rehearsed(clinics: list[Tenant]) -> None:
    """100 % of the records, over a status mapping, a transform and a matching order."""
    seen: Counter[str] = Counter()
    for number, tenant in enumerate(clinics):
        random = Random(number)
        with stage(tenant) as built, override_settings(SUTURE_PARENT_WAIT_S=0.05, SUTURE_OVERLAP_S=1):
            built.join(INVOICES)
            open_wide(built)
            populate(built, random)
            built.sync_all()
            for name, change in CHANGES:
                disturb(built, random)
                if name == INVOICES:
                    built.sync_all(flow_name=KIND)
                with tenant_tx(tenant.pk):
                    wanted = change(config_of(flow_of(built, name)), random)
                row = rehearsed(built, name, wanted)
                told = predicted(built, row)
                assert row.state == "done" and row.read == len(told) > 0
                happened, counts = published_and_synced(built, row)
                assert differences(told, happened, counts) == {}, (number, name)
                seen.update(f"{name} {one.action} {one.code}".strip() for one in told.values())
                seen["changed"] += row.changed
    print(dict(seen))
    assert seen["changed"] > 0


def test_the_comparison_fails_where_something_else_happens_than_was_foretold(house: House) -> None:
    """What changes at the source or the target after the rehearsal shows as a difference, record by record."""
    with stage(house.harbour) as built, override_settings(SUTURE_OVERLAP_S=1):
        open_wide(built)
        keys = [
            built.world.add_patient(
                first_name=name, last_name="Chen", email=f"{name}@example.com", accepted_privacy_policy=True
            )
            for name in ("mia", "leo", "kim")
        ]
        built.sync()
        row = rehearsed(built, KIND, transform(Config(), Random(0)))
        told = predicted(built, row)
        built.world.edit_patient(keys[0], accepted_privacy_policy=False)
        built.shop.remove(int(built.links()[keys[1]]))
        happened, counts = published_and_synced(built, row)
        assert differences(told, happened, counts).keys() == {keys[0], keys[1], "skipped"}
