"""`manage.py provision`: the file of `design.md` 9, its mistakes, and a second run that changes nothing (C01, C06, A14)."""

import io
import tomllib
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from integrations.models import Connection, Flow, FlowRevision, MappingRule
from integrations.services import provisioning
from integrations.services.connections import credentials_of
from integrations.services.provisioning import BadFile, provision
from tenants.models import Agency, AuditEntry, Tenant
from tenants.walls import tenant_tx

pytestmark = pytest.mark.django_db

FILE = """
[[tenant]]
slug = "harbour-physio"
name = "Harbour Physio"
time_zone = "Australia/Sydney"
country = "AU"
currency = "AUD"

[[tenant.connection]]
name = "practice"
vendor = "cliniko"
credentials = { api_key = "env:TEST_CLINIKO_KEY", contact_email = "ops@agency.example" }

[[tenant.connection]]
name = "shop"
vendor = "shopify"
account = "https://admin.shopify.com/store/ef760-ef"
credentials = { access_token = "env:TEST_SHOPIFY_TOKEN" }

[[tenant.flow]]
kind = "patients-to-customers"
source = "practice"
target = "shop"
mode = "live"
start = "all"
every = "15m"
settings = { missing_email = "skip" }
pilot = { keys = [], tag = "" }
waive = ["sku.duplicate"]

[[tenant.flow.rule]]
target = "metafields.clinic.referrer"
source = "custom_fields.referrer"
transforms = ["trim"]
write = "if_empty"
"""


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CLINIKO_KEY", "planted-cliniko-key-au2")
    monkeypatch.setenv("TEST_SHOPIFY_TOKEN", "shpat_planted_shopify_token")


def parsed(text: str = FILE) -> dict[str, object]:
    return tomllib.loads(text)


def faults(text: str) -> dict[str, str]:
    with pytest.raises(BadFile) as refusal:
        provision(parsed(text))
    return dict(refusal.value.faults)


def test_a_file_becomes_a_clinic_with_connections_and_a_flow_and_a_second_run_changes_nothing() -> None:
    told = provision(parsed(), origin="clinics.toml")
    assert any("clinic added" in line for line in told)
    tenant = Tenant.objects.get(slug="harbour-physio")
    assert Agency.objects.count() == 1
    with tenant_tx(tenant.pk):
        shop, practice = Connection.objects.get(name="shop"), Connection.objects.get(name="practice")
        flow = Flow.objects.get()
        assert shop.account == "ef760-ef.myshopify.com"
        assert practice.account == "au2"
        assert credentials_of(practice)["api_key"] == "planted-cliniko-key-au2"
        assert practice.hints["api_key"] == "-au2"
        assert practice.released_fields == ["custom_fields.referrer"]
        assert (flow.name, flow.mode, flow.settings) == ("patients-to-customers", "live", {"missing_email": "skip"})
        assert flow.wants_full_pass and flow.activated_at is not None
        assert MappingRule.objects.get().write == "if_empty"
        entries, revisions = AuditEntry.objects.count(), FlowRevision.objects.count()
        released = AuditEntry.objects.get(action="connection.field_released")
        assert (released.actor, released.actor_role) == ("provisioning", "operator")
        assert AuditEntry.objects.get(action="flow.mode").diff["waived"] == ["sku.duplicate"]
        sealed = bytes(practice.sealed_credentials)
    assert provision(parsed(), origin="clinics.toml") == []
    with tenant_tx(tenant.pk):
        assert (AuditEntry.objects.count(), FlowRevision.objects.count()) == (entries, revisions)
        assert bytes(Connection.objects.get(name="practice").sealed_credentials) == sealed


def test_a_dry_run_says_what_would_change_and_changes_nothing() -> None:
    told = provision(parsed(), dry_run=True)
    assert "harbour-physio/patients-to-customers: mode is live" in told
    assert not Tenant.objects.exists() and not Agency.objects.exists()


def test_what_the_file_leaves_out_stays_and_what_it_changes_is_one_revision() -> None:
    provision(parsed())
    told = provision(
        parsed(FILE.replace('missing_email = "skip"', 'missing_email = "create"').replace('every = "15m"\n', ""))
    )
    assert told == ["harbour-physio/patients-to-customers: settings.missing_email changed"]
    with tenant_tx(Tenant.objects.get().pk):
        assert Flow.objects.get().every == "15m"
        assert list(FlowRevision.objects.values_list("number", flat=True)) == [3, 2, 1]


def test_every_mistake_is_told_at_once_with_its_path_and_nothing_is_written() -> None:
    wrong = (
        FILE.replace('mode = "live"', 'mode = "lives"')
        .replace('vendor = "shopify"', 'vendor = "shopfy"')
        .replace("env:TEST_CLINIKO_KEY", "env:TEST_NOT_SET")
        .replace('write = "if_empty"', 'write = "perhaps"')
        .replace('transforms = ["trim"]', 'transforms = ["tirm"]')
        .replace('slug = "harbour-physio"', 'slug = "Harbour Physio"\ncolour = "blue"')
    )
    told = faults(wrong)
    assert {
        "tenant[0].slug",
        "tenant[0].colour",
        "tenant[0].connection[0].credentials.api_key",
        "tenant[0].connection[1].vendor",
        "tenant[0].flow[0].mode",
        "tenant[0].flow[0].rule[0].write",
        "tenant[0].flow[0].rule[0].transforms",
    } <= set(told)
    assert "colour" not in told["tenant[0].colour"] and "Is not known here" in told["tenant[0].colour"]
    assert not Tenant.objects.exists()


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        ('every = "15m"', 'every = "often"', "tenant[0].flow[0].every"),
        ('start = "all"', 'start = "soon"', "tenant[0].flow[0].start"),
        ('missing_email = "skip"', 'missing_email = "perhaps"', "tenant[0].flow[0].settings.missing_email"),
        ('missing_email = "skip"', 'missing_mail = "skip"', "tenant[0].flow[0].settings.missing_mail"),
        ('"custom_fields.referrer"', '"date_of_birth"', "tenant[0].flow[0].rule[0]"),
        ('"custom_fields.referrer"', '"accepted_privacy_policy"', "tenant[0].flow[0].rule[0]"),
        ('"metafields.clinic.referrer"', '"metafields.suture.cliniko_patient_id"', "tenant[0].flow[0].rule[0]"),
        ('target = "shop"', 'target = "till"', "tenant[0].flow[0].target"),
        ('source = "practice"', 'source = "shop"', "tenant[0].flow[0].source"),
        ("https://admin.shopify.com/store/ef760-ef", "https://evil.example/ef760", "tenant[0].connection[1].account"),
        ('time_zone = "Australia/Sydney"', 'time_zone = "Sydney"', "tenant[0].time_zone"),
        ('country = "AU"', 'country = "Australia"', "tenant[0].country"),
        (
            'pilot = { keys = [], tag = "" }',
            'pilot = { kys = [] }\nvalues = { status = { "20" = "x" } }',
            "tenant[0].flow[0].pilot.kys",
        ),
        ('waive = ["sku.duplicate"]', '[tenant.flow.values.status]\n"20" = "paid"', "tenant[0].flow[0].values.status"),
    ],
)
def test_a_mistake_is_told_where_it_stands_and_nothing_is_written(before: str, after: str, path: str) -> None:
    assert before in FILE
    assert path in faults(FILE.replace(before, after))
    assert not Tenant.objects.exists()


def test_two_masters_of_stock_in_a_file_are_told_in_a_sentence_and_nothing_is_written() -> None:
    """C13: whichever way round they stand in the file."""
    two = [
        f'\n[[tenant.flow]]\nkind = "{kind}"\nsource = "{source}"\ntarget = "{target}"\nmode = "live"\n'
        for kind, source, target in (
            ("stock-to-inventory", "practice", "shop"),
            ("shop-sales-to-stock-adjustments", "shop", "practice"),
        )
    ]
    for flows in (two, reversed(two)):
        (told,) = faults(FILE + "".join(flows)).values()
        assert "only one of the two may be: stock has one master." in told
    assert not Tenant.objects.exists()
    provision(parsed(FILE + two[1]))


def test_a_literal_secret_is_refused_unless_the_vendors_are_stand_ins(settings: pytest.FixtureRequest) -> None:
    literal = FILE.replace("env:TEST_CLINIKO_KEY", "literal-planted-key-au1")
    settings.SUTURE_SANDBOX = False  # type: ignore[attr-defined]
    told = faults(literal)
    assert set(told) == {"tenant[0].connection[0].credentials.api_key"}
    assert "literal-planted-key" not in str(told)
    settings.SUTURE_SANDBOX = True  # type: ignore[attr-defined]
    provision(parsed(literal))


def test_the_file_may_write_a_cron_line_and_a_bare_date() -> None:
    provision(
        parsed(FILE.replace('every = "15m"', 'every = "0 6 * * 1-5"').replace('start = "all"', "start = 2026-07-01"))
    )
    with tenant_tx(Tenant.objects.get().pk):
        flow = Flow.objects.get()
        assert (flow.every, flow.start) == ("0 6 * * 1-5", "2026-07-01")


def test_a_setting_that_names_a_custom_field_releases_it() -> None:
    provision(parsed(FILE.replace('missing_email = "skip"', 'company_field = "Employer (main)"')))
    with tenant_tx(Tenant.objects.get().pk):
        assert "custom_fields.employer_main" in Connection.objects.get(name="practice").released_fields


def test_two_clinics_stay_apart_and_a_name_twice_is_a_mistake() -> None:
    other = FILE.replace("harbour-physio", "ridge-podiatry").replace("Harbour Physio", "Ridge Podiatry")
    provision(parsed(FILE + other))
    for slug in ("harbour-physio", "ridge-podiatry"):
        with tenant_tx(Tenant.objects.get(slug=slug).pk):
            assert Connection.objects.count() == 2
    assert "tenant[1].slug" in faults(FILE + FILE)


def test_the_command_lists_mistakes_and_ends_with_status_2(tmp_path: Path) -> None:
    file = tmp_path / "clinics.toml"
    file.write_text(FILE.replace('mode = "live"', 'mode = "lives"'))
    with pytest.raises(CommandError) as refusal:
        call_command("provision", str(file))
    assert refusal.value.returncode == 2
    assert "tenant[0].flow[0].mode" in str(refusal.value)
    file.write_text("[[tenant")
    with pytest.raises(CommandError, match="is not TOML"):
        call_command("provision", str(file))
    file.write_text(FILE)
    out = io.StringIO()
    call_command("provision", str(file), dry_run=True, stdout=out)
    assert "would be: harbour-physio: clinic added" in out.getvalue()
    assert "planted" not in out.getvalue()


def test_no_secret_is_told_shown_or_audited() -> None:
    told = provision(parsed())
    with tenant_tx(Tenant.objects.get().pk):
        written = [str(told), *(f"{entry.diff} {entry.reason} {entry.target}" for entry in AuditEntry.objects.all())]
        written += [str(provisioning.read(parsed()))]
        assert not any("planted" in text for text in written)
