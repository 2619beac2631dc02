"""What ``userErrors`` of orders, payment terms and refunds mean. As in ``refusals.py``: paths, codes and words decide,
and the words go no further."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from integrations.connectors.shopify.once import key_error
from integrations.connectors.shopify.orders_documents import OrderStep
from integrations.connectors.shopify.refusals import GONE, TAKEN, rejected
from integrations.core.errors import SyncError, Throttled
from integrations.toolkit.graphql import UserError

_BUSY = re.compile(r"per minute|too many (?:orders|requests)|rate limit|try again later", re.IGNORECASE)
_BUSY_FOR = timedelta(seconds=20)
_EXCEEDS = re.compile(r"exceed|greater than|more than|over-?refund|cannot refund|not refundable", re.IGNORECASE)

_BY_MEMBER: Mapping[str, str] = {
    "metafields": "shopify.metafield_invalid",
    "tags": "shopify.tags_invalid",
    "customer": "shopify.customer_gone",
    "customerId": "shopify.customer_gone",
    "variantId": "shopify.product_gone",
    "productId": "shopify.product_gone",
}
_BY_STEP: Mapping[str, str] = {
    OrderStep.CANCEL: "shopify.cancel_refused",
    OrderStep.MARK_PAID: "shopify.payment_refused",
    OrderStep.TERMS_CREATE: "shopify.terms_refused",
    OrderStep.TERMS_UPDATE: "shopify.terms_refused",
    OrderStep.TERMS_DELETE: "shopify.terms_refused",
    OrderStep.REFUND: "shopify.refund_refused",
}
# A fresh look-up, or a moment, may tell more: the shell looks again before it holds.
_LOOK_AGAIN = frozenset(
    {
        "shopify.cancel_refused",
        "shopify.customer_gone",
        "shopify.marker_taken",
        "shopify.order_gone",
        "shopify.payment_refused",
        "shopify.terms_refused",
    }
)


def refused(errors: Sequence[UserError], step: str, *, marks: bool) -> SyncError:
    """The error for a mutation's ``userErrors``; the first that names something decides.

    ``marks``: the marker was among what was sent. Trial and development shops take five new orders a minute and do not say
    how they refuse the sixth: by words at worst, and then it is nobody's fault.
    """
    if step == OrderStep.CREATE and any(_BUSY.search(error.message) for error in errors):
        return Throttled("shopify.throttled", datetime.now(UTC) + _BUSY_FOR)
    for error in errors:
        if (known := key_error(error.code, error.message)) is not None:
            return known
    general = _BY_STEP.get(step, "shopify.order_refused")
    found = [(_code(error, step, general, marks=marks), error) for error in errors]
    code, error = min(found, key=lambda pair: (pair[0] not in _LOOK_AGAIN, pair[0] == general))
    return rejected(code, error, errors, look_again=code in _LOOK_AGAIN)


def _code(error: UserError, step: str, general: str, *, marks: bool) -> str:
    names = [name for name in error.path.split(".") if name and not name.isdigit()]
    if TAKEN.search(error.message) and (marks or "metafields" in names):
        return "shopify.marker_taken" if marks else "shopify.metafield_taken"
    if step == OrderStep.REFUND and _EXCEEDS.search(error.message):
        return "shopify.refund_exceeds"
    known = next((_BY_MEMBER[name] for name in reversed(names) if name in _BY_MEMBER), None)
    if known is not None:
        return known
    is_order = not names or names[-1] in ("id", "orderId", "referenceId")
    if step != OrderStep.CREATE and is_order and (error.code == "NOT_FOUND" or GONE.search(error.message)):
        return "shopify.order_gone"
    return general
