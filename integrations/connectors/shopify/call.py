"""One GraphQL document sent to a shop, and what Shopify's refusals mean.

Shopify says no in three layers (README.md, "Errors"): HTTP statuses are ``facts.ERRORS``, ``errors[]`` is explained
here, ``userErrors`` belong to one mutation and are read in ``refusals.py``. Messages may repeat what was sent, so they
are looked at here and go no further.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import TypeVar

from integrations.connectors.shopify.once import key_error
from integrations.core.errors import AccountError, Rejected, SyncError, VendorChanged
from integrations.toolkit import graphql
from integrations.toolkit.graphql import Meaning, Outcome
from integrations.toolkit.http import Client, Reply
from integrations.toolkit.payload import Json

API_VERSION = "2026-10"
PATH = f"/admin/api/{API_VERSION}/graphql.json"
MOST_POINTS = 1000  # one document may ask for no more, on any plan
_TOO_DEAR = "MAX_COST_EXCEEDED"

_Thing = TypeVar("_Thing")
_Key = TypeVar("_Key")
_Found = TypeVar("_Found")

CODES: Mapping[str, Meaning] = {
    "THROTTLED": Meaning.THROTTLED,
    "ACCESS_DENIED": Meaning.DENIED,
    "INTERNAL_SERVER_ERROR": Meaning.OUTAGE,
    "TIMEOUT": Meaning.OUTAGE,
    _TOO_DEAR: Meaning.OURS,
}
COSTS = graphql.Costs(most=MOST_POINTS)

_PROTECTED = re.compile(r"not approved to (?:use|access)", re.IGNORECASE)
_SCOPE = re.compile(r"\b(?:read|write)_[a-z_]{2,60}\b")
_VARIABLE = re.compile(r"\$\"?i(\d{1,3})\b")


def call(
    client: Client, document: str, variables: Mapping[str, object], *, cost: float, writes: bool = False
) -> Outcome:
    """Sends one document. ``cost`` is our guess; what Shopify asked for the same document before replaces it.

    Raises what ``graphql.run`` raises, among it what ``explain`` makes of an error that concerns everything.
    """
    outcome = graphql.run(
        client,
        PATH,
        document,
        variables,
        writes=writes,
        cost=min(MOST_POINTS, max(1, ceil(cost))),
        codes=CODES,
        prefix="shopify",
        costs=COSTS,
        explain=explain,
    )
    _refuse_ignored_search(outcome.reply)
    return outcome


def read(client: Client, document: str, variables: Mapping[str, object], *, cost: float, bears: str = "") -> Outcome:
    """A call that only reads, all or nothing: a null that was refused must never be taken for an empty field.

    But for what the token may not see at or beneath a member called ``bears``: those problems are the caller's to heed.

    Raises what ``call`` raises, the error of the first problem, and VendorChanged if another API version answered: a
    retired one is not refused but silently replaced by the oldest that is still served.
    """
    outcome = call(client, document, variables, cost=cost)
    for problem in outcome.problems:
        if not bears or not isinstance(problem.error, AccountError) or bears not in problem.path.split("."):
            raise problem.error
    served = served_version(outcome.reply)
    if served != API_VERSION:
        raise VendorChanged("shopify.version_changed", asked=API_VERSION, served=served)
    return outcome


def is_too_dear(error: SyncError) -> bool:
    """Whether Shopify ran nothing because the document asked for more points than one may."""
    return error.facts.get("vendor_code") == _TOO_DEAR


def affordable(
    things: Sequence[_Thing], ask: Callable[[Sequence[_Thing]], Mapping[_Key, _Found]]
) -> dict[_Key, _Found]:
    """What ``ask`` answers of these things, by halves where together they are too dear: how Shopify prices lists is not
    published. Raises what ``ask`` raises."""
    try:
        return dict(ask(things))
    except SyncError as error:
        if not is_too_dear(error) or len(things) < 2:
            raise
    half = len(things) // 2
    return affordable(things[:half], ask) | affordable(things[half:], ask)


def served_version(reply: Reply) -> str:
    """The API version that answered; ours if it did not say."""
    return reply.headers.get("x-shopify-api-version", API_VERSION)[:20]


def explain(entry: Json) -> SyncError | None:
    """What Shopify says by words alone: protected data and a missing scope share a code, and so do others."""
    message = entry.get("message")
    text = message if isinstance(message, str) else ""
    if _PROTECTED.search(text):
        return AccountError("shopify.protected_data")
    extensions = entry.get("extensions")
    extensions = extensions if isinstance(extensions, dict) else {}
    if (about_key := key_error(str(extensions.get("code") or ""), text)) is not None:
        return about_key
    if extensions.get("code") == "ACCESS_DENIED":
        scopes = sorted(set(_SCOPE.findall(f"{text} {extensions.get('requiredAccess')}")))
        return AccountError("shopify.scope_missing", scopes=", ".join(scopes)[:200] or None)
    if "metafield definition" in text.lower():
        return AccountError("shopify.marker_definition_missing")
    named = _VARIABLE.search(text)
    if named is not None and not entry.get("path"):
        return Rejected("shopify.values_refused", item=int(named[1]))
    return None


def _refuse_ignored_search(reply: Reply) -> None:
    """A search field that Shopify does not know is ignored, and everything comes back: never go on with that."""
    extensions = reply.data.get("extensions") if isinstance(reply.data, dict) else None
    searches = extensions.get("search") if isinstance(extensions, dict) else None
    for search in searches if isinstance(searches, list) else ():
        if isinstance(search, dict) and search.get("warnings"):
            raise VendorChanged("shopify.search_ignored")
