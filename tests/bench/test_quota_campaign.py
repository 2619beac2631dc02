"""V1: four processes on one key and one shop stay within both limits and use nearly all of them.

Seen from the vendors' journals. The samples, which share the machine with the rest of the suite, show that no limit is
passed; that nearly all is used is shown by the whole campaigns.
"""

import os
from collections.abc import Mapping

import pytest
from django.db import connection

from integrations.bench import campaign, quota
from integrations.models import Link
from tenants.walls import tenant_tx

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

LEAST = 0.95


def environment() -> Mapping[str, str]:
    """Ours, with the database of this test."""
    url, name = os.environ["DATABASE_URL"], str(connection.settings_dict["NAME"])
    head, _, query = url.partition("?")
    ours = os.environ | {"DATABASE_URL": f"{head.rpartition('/')[0]}/{name}?{query}", "LOG_LEVEL": "WARNING"}
    ours.pop("DATABASE_OWNER_URL", None)
    return ours


def read(patients: int, *, speed: float, seconds: float) -> campaign.Told:
    """Four clinics that share a key, one process each, all reading the whole practice."""
    with campaign.stage(patients, speed=speed) as on:
        clinics = campaign.clinics(campaign.PROCESSES)
        for clinic in clinics:
            clinic.let_deliver(on=False)
        campaign.at_once(on, [clinic.sync for clinic in clinics], environment=environment(), seconds=seconds)
        told = campaign.requests_told(on)
        print(told)
    assert told.requests >= campaign.PROCESSES * patients / 100
    assert told.busiest <= campaign.REQUESTS
    assert told.refused == 0
    return told


def write(patients: int, *, speed: float, seconds: float) -> campaign.Told:
    """One clinic, its shop written to by four processes, each record by itself."""
    with campaign.stage(patients, speed=speed) as on:
        (clinic,) = campaign.clinics(1)
        quota.write_with(
            on, clinic, processes=campaign.PROCESSES, batch="1", environment=environment(), seconds=seconds
        )
        told = campaign.points_told(on)
        print(told, campaign.requests_told(on))
        assert on.practice.journal.busiest(on.window_s) <= campaign.REQUESTS
        assert len(on.shop.vendor.shop(campaign.SUBJECT).customers) == patients
    with tenant_tx(clinic.tenant_id):
        assert Link.objects.count() == patients
    assert told.refused == 0
    assert told.busiest >= 0
    return told


def test_v01_four_processes_read_within_one_window() -> None:
    read(5_500, speed=3, seconds=240)


def test_v01_four_processes_write_within_one_bucket() -> None:
    write(60, speed=4, seconds=240)


@pytest.mark.proof
def test_v01_four_processes_read_a_hundred_thousand_patients_with_all_that_is_allowed() -> None:
    assert read(25_000, speed=2, seconds=1200).share >= LEAST


@pytest.mark.proof
def test_v01_four_processes_write_three_thousand_one_by_one_with_all_that_is_allowed() -> None:
    assert write(3_000, speed=4, seconds=1800).share >= LEAST
