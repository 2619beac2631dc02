"""What the bench compares: everybody finds what there is, ours by digests and links (C12)."""

import pytest

from integrations.bench.sides import expected, pairs
from reconciliation.bench import sides

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
RECORDS = 1200


def test_the_sides_hold_what_they_say() -> None:
    made = list(pairs(RECORDS))
    different = sum(left is not None and right is not None and left != right for _, left, right in made)
    missing = [sum(side is None for side in column) for column in list(zip(*made, strict=True))[1:]]
    assert [different, missing[1], missing[0]] == expected(RECORDS) == [12, 6, 6]


def test_a_join_by_digests_leaves_over_what_differs_and_no_more() -> None:
    sides.stage(RECORDS, "sides")
    for _ in range(2):  # it leaves the stage as it was
        agree, suspects, _ = sides.compare(RECORDS, "sides")
        assert (agree, suspects) == (RECORDS - 24, 24)
