"""Blueprints: kind < blueprint < the clinic's own lines, first clinics first, stopped and rolled back (B2)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import ProgrammingError, transaction
from django.test import override_settings

from integrations.core.rules import Rule
from integrations.flows.kind import Config
from integrations.models import (
    Blueprint,
    BlueprintVersion,
    Delivery,
    Flow,
    FlowRevision,
    Following,
    Proposal,
    Rehearsal,
    Rollout,
    RolloutStep,
)
from integrations.services import blueprints, configuration, configured, following
from integrations.services.changes import By, Refused
from integrations.services.following import Origin
from tenants.models import AgencyAuditEntry, AuditEntry, Role, Tenant
from tenants.services import add_tenant
from tenants.walls import app_now, tenant_tx
from tests.blueprint_rows import (
    OWNER,
    add_blueprint,
    add_flow,
    as_agency,
    carry_out_due,
    config_of,
    following_of,
)
from tests.conftest import House, MovedClock

pytestmark = pytest.mark.django_db

MANAGER = By("olga@example.test", Role.CLINIC_MANAGER)


def lines(**maps: str) -> Config:
    return Config(value_maps={"status": maps})


V1 = lines(**{"25": "cancel", "26": "ignore"})
V2 = lines(**{"25": "hold", "27": "ignore"})


def status_of(tenant: Tenant, flow_id: int) -> dict[str, str]:
    return dict(config_of(tenant, flow_id).value_maps.get("status", {}))


def configure(tenant: Tenant, flow_id: int, config: Config) -> None:
    with tenant_tx(tenant.pk):
        configuration.configure(Flow.objects.get(pk=flow_id), config=config, by=MANAGER)


class Two:
    """Harbour and Ridge follow one blueprint; Harbour has a line of its own."""

    def __init__(self, house: House, own: Config = lines(**{"25": "mark_paid"})) -> None:  # noqa: B008 - frozen
        self.house, self.clinics = house, (house.harbour, house.ridge)
        self.harbour, self.ridge = add_flow(house.harbour, config=own), add_flow(house.ridge)
        self.blueprint = add_blueprint(house.agency, V1, *self.clinics)

    def prepare(self, *first: int, note: str = "") -> Rollout:
        with as_agency(*self.clinics):
            return blueprints.prepare(self.blueprint, by=OWNER, first=first or (self.ridge,), note=note)

    def begin(self, rollout: Rollout) -> None:
        with as_agency(*self.clinics):
            blueprints.begin(rollout, by=OWNER)
        carry_out_due()

    def go_on(self, rollout: Rollout, reason: str = "") -> None:
        with as_agency(*self.clinics):
            blueprints.go_on(rollout, by=OWNER, reason=reason)
        carry_out_due()

    def publish(self, config: Config) -> Rollout:
        """All the way, without a wait."""
        with as_agency(*self.clinics):
            blueprints.edit(self.blueprint, config, by=OWNER)
        with override_settings(SUTURE_BLUEPRINT_WAIT_S=0):
            rollout = self.prepare()
            self.begin(rollout)
            self.go_on(rollout)
        return rollout

    def undo(self, rollout: Rollout) -> None:
        with as_agency(*self.clinics):
            blueprints.undo(rollout, by=OWNER)
        carry_out_due()

    def status(self) -> tuple[dict[str, str], dict[str, str]]:
        return status_of(self.house.harbour, self.harbour), status_of(self.house.ridge, self.ridge)


@pytest.fixture
def two(house: House) -> Two:
    return Two(house)


# Layers


def test_a_clinics_own_line_wins_and_the_others_come_from_the_blueprint(two: Two) -> None:
    two.publish(V1)
    assert two.status() == ({"25": "mark_paid", "26": "ignore"}, {"25": "cancel", "26": "ignore"})
    two.publish(V2)
    assert two.status() == ({"25": "mark_paid", "27": "ignore"}, {"25": "hold", "27": "ignore"})
    with tenant_tx(two.house.harbour.pk):
        flow = Flow.objects.get(pk=two.harbour)
        row = following.following_of(flow)
        assert row is not None and row.number == 2
        assert following.origins(row, configured.config_of(flow)) == {
            "values.status.25": Origin.OWN,
            "values.status.27": Origin.BLUEPRINT,
        }


def test_each_clinic_gets_an_ordinary_revision_with_author_and_note(two: Two, house: House) -> None:
    with as_agency(*two.clinics):
        by = replace(OWNER, user_id=house.ana.pk)
        rollout = blueprints.prepare(two.blueprint, by=by, note="Refunds", first=[two.ridge])
    two.begin(rollout)
    with tenant_tx(house.ridge.pk):
        revision = FlowRevision.objects.get(flow_id=two.ridge, number=2)
        entry = AuditEntry.objects.filter(action="flow.configured").latest("pk")
        assert Flow.objects.get(pk=two.ridge).wants_full_pass
    assert (revision.note, revision.author_id) == ("Blueprint “House rules”, version 1: Refunds", house.ana.pk)
    assert (entry.actor, entry.diff["fields"]) == ("ana@example.test", ["values.status"])


def test_what_a_clinic_changes_later_is_its_own_also_where_the_blueprint_comes_to_say_the_same(two: Two) -> None:
    two.publish(V1)
    ridge = two.house.ridge
    configure(ridge, two.ridge, lines(**{"25": "hold"}))  # changes 25, and gives up 26
    two.publish(V2)
    assert status_of(ridge, two.ridge) == {"25": "hold", "27": "ignore"}
    two.publish(lines(**{"25": "cancel", "26": "cancel"}))
    assert status_of(ridge, two.ridge) == {"25": "hold"}, "both stay as the clinic wanted them"


def test_a_line_is_given_back(two: Two) -> None:
    two.publish(V1)
    harbour = two.house.harbour
    with tenant_tx(harbour.pk):
        changed = following.give_back(Flow.objects.get(pk=two.harbour), ["values.status.25"], by=MANAGER)
    assert changed == ("values.status",)
    assert status_of(harbour, two.harbour) == {"25": "cancel", "26": "ignore"}
    two.publish(V2)
    assert status_of(harbour, two.harbour) == {"25": "hold", "27": "ignore"}


def test_a_manager_gives_back_no_rule(two: Two) -> None:
    with tenant_tx(two.house.harbour.pk), pytest.raises(Refused, match="agency's to decide"):
        following.give_back(Flow.objects.get(pk=two.harbour), ["rules.email"], by=MANAGER)


def test_lines_that_say_what_the_blueprint_says_are_its_own_from_the_first_version_on(house: House) -> None:
    two = Two(house, own=V1)
    two.publish(V1)
    assert following_of(house.harbour, two.harbour).own == []
    two.publish(V2)
    assert two.status()[0] == {"25": "hold", "27": "ignore"}


def test_whoever_leaves_keeps_the_lines(two: Two) -> None:
    two.publish(V1)
    with as_agency(*two.clinics):
        assert blueprints.leave(two.blueprint, two.ridge, by=OWNER)
        assert not blueprints.leave(two.blueprint, two.ridge, by=OWNER)
    assert two.status()[1] == {"25": "cancel", "26": "ignore"}
    with tenant_tx(two.house.ridge.pk):
        assert not Following.objects.exists()


def test_a_file_that_knows_nothing_of_the_blueprint_leaves_its_lines_in_place(two: Two) -> None:
    """What `manage.py provision` puts in place of a whole map."""
    two.publish(V1)
    with tenant_tx(two.house.harbour.pk):
        flow = Flow.objects.get(pk=two.harbour)
        assert following.still_inheriting(flow, lines(**{"30": "cancel"})) == lines(**{"30": "cancel", "26": "ignore"})
        assert following.still_inheriting(flow, lines(**{"26": "hold"})) == lines(**{"26": "hold"})
        Following.objects.all().delete()
        assert following.still_inheriting(flow, Config()) == Config()


# First clinics, then the rest


def test_nothing_happens_before_it_begins_and_only_to_the_first_until_a_person_says_go(
    two: Two, clock: MovedClock
) -> None:
    rollout = two.prepare()
    assert carry_out_due() == 0
    two.begin(rollout)
    assert two.status() == ({"25": "mark_paid"}, {"25": "cancel", "26": "ignore"})
    with pytest.raises(Refused, match="for long enough"):
        two.go_on(rollout)
    clock.forward(timedelta(hours=24, seconds=1))
    assert carry_out_due() == 0
    two.go_on(rollout)
    assert two.status()[0] == {"25": "mark_paid", "26": "ignore"}
    with as_agency(*two.clinics):
        rollout.refresh_from_db()
        assert rollout.state == "done"
        said = list(AgencyAuditEntry.objects.filter(target=f"blueprint {two.blueprint.pk}").values_list("action", flat=True))  # fmt: skip
    assert said == ["blueprint.added", "blueprint.prepared", "blueprint.first_clinics", "blueprint.all_clinics"]


def test_trouble_at_the_first_clinics_asks_for_a_reason(two: Two, clock: MovedClock) -> None:
    rollout = two.prepare()
    two.begin(rollout)
    hold(two.house.ridge, two.ridge)
    clock.forward(timedelta(days=2))
    with as_agency(*two.clinics):
        seen = blueprints.watch(rollout)
    assert (seen.arrived, seen.newly_held, seen.has_trouble) == (1, 1, True)
    with pytest.raises(Refused, match="have trouble"):
        two.go_on(rollout)
    two.go_on(rollout, reason="A known invoice")
    assert two.status()[0] == {"25": "mark_paid", "26": "ignore"}


def test_what_waited_before_and_what_waits_elsewhere_is_no_trouble(two: Two, clock: MovedClock) -> None:
    hold(two.house.ridge, two.ridge)
    clock.forward(timedelta(minutes=1))
    rollout = two.prepare()
    two.begin(rollout)
    clock.forward(timedelta(days=2))
    hold(two.house.harbour, two.harbour)
    with as_agency(*two.clinics):
        assert not blueprints.watch(rollout).has_trouble


def hold(tenant: Tenant, flow_id: int) -> None:
    with tenant_tx(tenant.pk):
        flow, now = Flow.objects.get(pk=flow_id), app_now()
        run = flow.runs.create(started_at=now)
        Delivery.objects.create(
            flow=flow, run=run, target_id=flow.target_id, source_key="7", state="held", code="unmapped_value",
            not_before=now, held_at=now,
        )  # fmt: skip


def test_the_smallest_go_first_where_nobody_is_chosen(house: House) -> None:
    clinics = [house.harbour, *(add_tenant(agency=house.agency, slug=f"c{n}", name=f"Clinic {n}") for n in range(20))]
    flows = [add_flow(clinic) for clinic in clinics]
    for size, (clinic, flow_id) in enumerate(zip(clinics, flows, strict=True)):
        with tenant_tx(clinic.pk):
            Flow.objects.get(pk=flow_id).runs.create(started_at=app_now(), read=100 - size, unchanged=100 - size)
    blueprint = add_blueprint(house.agency, V1, *clinics)
    with as_agency(*clinics):
        rollout = blueprints.prepare(blueprint, by=OWNER)
        firsts = set(RolloutStep.objects.filter(rollout=rollout, is_first=True).values_list("flow_id", flat=True))
    assert firsts == set(flows[-2:])


def test_a_clinic_that_cannot_take_it_says_why_and_holds_up_nobody(two: Two) -> None:
    wanted = Config(rules=(Rule("note", "custom_fields.referrer"),), value_maps=V1.value_maps)
    rollout = two.publish(V1)
    with as_agency(*two.clinics):
        Blueprint.objects.filter(pk=two.blueprint.pk).update(config=wanted.as_json())
    rollout = two.prepare()
    two.begin(rollout)
    with as_agency(*two.clinics):
        step = RolloutStep.objects.get(rollout=rollout, flow_id=two.ridge)
    assert (step.state, step.revision_number) == ("refused", None)
    assert step.why
    assert following_of(two.house.ridge, two.ridge).number == 1


def test_a_step_is_carried_out_once_however_often_it_is_rung_for(two: Two) -> None:
    rollout = two.prepare()
    two.begin(rollout)
    with as_agency(*two.clinics):
        step = RolloutStep.objects.get(rollout=rollout, flow_id=two.ridge)
    with tenant_tx(two.house.ridge.pk):
        assert following.carry_out(step.pk) == ""
        assert Flow.objects.get(pk=two.ridge).revision_number == 2


def test_only_one_version_is_on_its_way_and_none_without_followers(two: Two, house: House) -> None:
    two.prepare()
    with pytest.raises(Refused, match="on its way already"):
        two.prepare()
    with as_agency(*two.clinics), pytest.raises(Refused, match="nobody is left"):
        empty = blueprints.add_blueprint(house.agency.pk, configuration.FLOW_KINDS["invoices-to-orders"], "Empty", V1, by=OWNER)  # fmt: skip
        blueprints.prepare(empty, by=OWNER)


# Stopped, rolled back


def test_stopping_leaves_whoever_was_not_reached(two: Two) -> None:
    rollout = two.prepare()
    two.begin(rollout)
    with as_agency(*two.clinics):
        blueprints.stop(rollout, by=OWNER)
    assert carry_out_due() == 0
    assert two.status() == ({"25": "mark_paid"}, {"25": "cancel", "26": "ignore"})
    with pytest.raises(Refused, match="past that: stopped"):
        two.begin(rollout)


def test_rolling_back_restores_each_clinic_and_keeps_what_it_changed_since(two: Two) -> None:
    two.publish(V1)
    before = two.status()
    rollout = two.publish(V2)
    configure(two.house.ridge, two.ridge, lines(**{"25": "hold", "27": "ignore", "28": "cancel"}))
    two.undo(rollout)
    harbour, ridge = two.status()
    assert harbour == before[0]
    assert ridge == {**before[1], "28": "cancel"}
    assert [following_of(*one).number for one in ((two.house.harbour, two.harbour), (two.house.ridge, two.ridge))] == [1, 1]  # fmt: skip
    two.publish(V2)
    assert two.status()[1] == {"25": "hold", "27": "ignore", "28": "cancel"}


def test_rolling_back_the_first_version_gives_back_what_had_become_the_blueprints(house: House) -> None:
    two = Two(house, own=V1)
    rollout = two.publish(V1)
    two.undo(rollout)
    assert two.status() == ({"25": "cancel", "26": "ignore"}, {})


def test_only_the_newest_is_rolled_back_and_only_once(two: Two) -> None:
    older = two.publish(V1)
    newer = two.publish(V2)
    with pytest.raises(Refused, match="Roll that back first"):
        two.undo(older)
    two.undo(newer)
    with pytest.raises(Refused, match="past that: rolled back"):
        two.undo(newer)


def test_versions_are_kept_and_made_only_where_lines_changed(two: Two) -> None:
    rollout = two.publish(V1)
    two.undo(rollout)
    again = two.publish(V1)
    assert (rollout.number, again.number) == (1, 1)
    two.publish(V2)
    with as_agency(*two.clinics):
        assert [row.number for row in BlueprintVersion.objects.filter(blueprint=two.blueprint)] == [2, 1]


# Rehearsed


def test_a_step_is_rehearsed_and_published_as_what_was_rehearsed(two: Two) -> None:
    rollout = two.prepare()
    with as_agency(*two.clinics):
        assert blueprints.ask_rehearsal(rollout, [two.ridge]) == 1
    assert carry_out_due() == 1
    with tenant_tx(two.house.ridge.pk):
        proposal = Proposal.objects.get()
        assert Rehearsal.objects.get().proposal == proposal
    two.begin(rollout)
    with tenant_tx(two.house.ridge.pk):
        proposal.refresh_from_db()
    assert (proposal.state, proposal.published_number) == ("published", 2)
    assert two.status()[1] == {"25": "cancel", "26": "ignore"}


def test_a_rehearsal_that_is_out_of_date_is_not_what_is_published(two: Two) -> None:
    rollout = two.prepare()
    with as_agency(*two.clinics):
        blueprints.ask_rehearsal(rollout, [two.ridge])
    carry_out_due()
    configure(two.house.ridge, two.ridge, lines(**{"26": "cancel"}))
    two.begin(rollout)
    assert two.status()[1] == {"25": "cancel", "26": "cancel"}
    with tenant_tx(two.house.ridge.pk):
        assert Proposal.objects.get().state == "withdrawn"


# Refused lines


def test_a_line_that_no_clinic_could_take_is_refused(two: Two) -> None:
    with as_agency(*two.clinics), pytest.raises(Refused, match="choose one of"):
        blueprints.edit(two.blueprint, lines(**{"25": "explode"}), by=OWNER)
    with as_agency(*two.clinics), pytest.raises(Refused, match="named House rules already"):
        blueprints.add_blueprint(two.house.agency.pk, configuration.FLOW_KINDS["invoices-to-orders"], "House rules", V1, by=OWNER)  # fmt: skip


def test_the_wall_keeps_blueprints_from_clinics(two: Two) -> None:
    """A clinic reads its own following, and nothing of the agency's tables (wall 2)."""
    for model in (Blueprint, BlueprintVersion, Rollout):
        with tenant_tx(two.house.harbour.pk):
            with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
                list(model.objects.all())
            assert [row.flow_id for row in Following.objects.all()] == [two.harbour]
