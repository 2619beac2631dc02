"""An invoice's life in a sandboxed shop through the real client: lost answer, found again, due, paid, refunded."""

from decimal import Decimal

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Wanted
from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.connectors.shopify.orders import find, prepare, read_many
from integrations.connectors.shopify.orders_writing import write_many
from integrations.core.errors import Uncertain
from tests.contract.desk import client_of, rig_of
from tests.unit.connectors.shopify.orders_bench import DUE, FIELDS, MARKER, VISIT, credit, invoice, item, patch


def test_an_invoice_whose_answer_was_lost_is_found_paid_and_refunded() -> None:
    rig, connector = rig_of("shopify"), CONNECTORS["shopify"]
    wish = invoice(VISIT, dueOn=DUE)
    with rig.serve() as server, client_of(connector, rig, server) as client:
        prepare(client, MARKER)
        server.faults.add(Fault(FaultKind.DROP_AFTER, contains="orderCreate"))
        [lost] = write_many(client, [item(wish)], FIELDS, MARKER)
        assert isinstance(lost.error, Uncertain)
        [record] = find(client, [Wanted("900", "900", {}, wish)], FIELDS, MARKER)["900"].by_marker
        for changes in ({}, {"payment": "paid"}):
            wanted = {**wish, **changes}
            [written] = write_many(client, [item(wanted, record, **patch(record, wanted))], FIELDS, MARKER)
            assert written.record is not None and written.request_id, written.error
            record = written.record
            assert not patch(record, wanted)
        [back] = write_many(client, [item(credit(record.key))], FIELDS, MARKER)
        assert back.record is not None and back.record.values["refund.amount"] == Decimal("110.00")
        found = read_many(client, [record.key, back.record.key], FIELDS)
        assert found[record.key].values["payment"] == "refunded" and found[back.record.key] == back.record
