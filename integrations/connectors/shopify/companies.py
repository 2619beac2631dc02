"""Companies of the shop (B2B), which a customer becomes a contact of: found by our external id, else made.

Nothing makes or finds a company in one call, and the search index may not show a company that was made a moment ago. One that cannot be made
because it is there already is therefore looked for again, also among the newest, which are listed without a search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from integrations.connectors.base import Written
from integrations.connectors.shopify.call import call, read
from integrations.connectors.shopify.company_names import external_id, slug
from integrations.connectors.shopify.company_refusals import TAKEN, refused
from integrations.connectors.shopify.operations import (
    COMPANY,
    COMPANY_CREATE,
    NEWEST_COMPANIES,
    Step,
    companies_document,
    create_companies_document,
)
from integrations.connectors.shopify.steps import Job
from integrations.core.errors import AccountError, SyncError, Throttled, Uncertain, VendorChanged
from integrations.core.values import clean_text
from integrations.toolkit import graphql, payload
from integrations.toolkit.graphql import Outcome
from integrations.toolkit.http import Client

_Told = Mapping[str, str | SyncError]  # slug -> the company's global id, or why there is none


def with_companies(client: Client, jobs: Sequence[Job]) -> tuple[list[Job], dict[str, Written]]:
    """The jobs, those that make a contact with the company they need; and the outcome of those whose company there is
    not. Raises what concerns the connection (AccountError, Throttled, VendorChanged): no customer was touched yet, and
    a company that was made by then is found the next time."""
    names: dict[str, str] = {}
    for job in jobs:
        if job.step == Step.COMPANY_ASSIGN:
            names.setdefault(slug(_name(job)), _name(job))
    known = _known(client, names) if names else {}
    ready: list[Job] = []
    outcomes: dict[str, Written] = {}
    for job in jobs:
        told = known[slug(_name(job))] if job.step == Step.COMPANY_ASSIGN else ""
        if isinstance(told, SyncError):
            outcomes[job.item.ref] = Written(job.item.ref, error=told)
        else:
            ready.append(replace(job, variables={**job.variables, "o": told}) if told else job)
    return ready, outcomes


def _name(job: Job) -> str:
    return clean_text(job.item.fields.get(COMPANY))


def _known(client: Client, names: Mapping[str, str]) -> _Told:
    try:
        return _found_or_made(client, names)
    except AccountError as error:
        if error.code != "shopify.scope_missing":
            raise
        raise AccountError("shopify.b2b_unavailable", **error.facts) from None
    except (Throttled, VendorChanged):
        raise
    except SyncError as error:
        return dict.fromkeys(names, error)


def _found_or_made(client: Client, names: Mapping[str, str]) -> _Told:
    found = _find(client, names)
    missing = {own: name for own, name in names.items() if own not in found}
    made = _make(client, missing) if missing else {}
    taken = {own: names[own] for own, told in made.items() if isinstance(told, SyncError) and told.code == TAKEN}
    return {**found, **made, **(_find(client, taken, among_newest=True) if taken else {})}


def _find(client: Client, names: Mapping[str, str], *, among_newest: bool = False) -> dict[str, str]:
    """Those that are there. The search may answer with others: only an equal external id counts."""
    wanted = {external_id(name): own for own, name in names.items()}
    variables = {f"q{number}": f"external_id:'{told}'" for number, told in enumerate(wanted)}
    document = companies_document(len(wanted), among_newest=among_newest)
    cost = 4 + 4 * len(wanted) + (NEWEST_COMPANIES if among_newest else 0)
    answered = read(client, document, variables, cost=cost)
    found: dict[str, str] = {}
    for alias in answered.data:
        for row in payload.items(payload.obj(answered.data, alias, "data"), "nodes", "companies"):
            own = wanted.get(payload.optional_text(row, "externalId", "companies") or "")
            if own is not None:
                found[own] = payload.text(row, "id", "companies")
    return found


def _make(client: Client, names: Mapping[str, str]) -> dict[str, str | SyncError]:
    """The mutations of one document, each with its own outcome."""
    variables = {
        f"i{number}": {"company": {"name": name, "externalId": external_id(name)}}
        for number, name in enumerate(names.values())
    }
    document = create_companies_document(len(names))
    outcome = call(client, document, variables, writes=True, cost=12 * len(names))
    return {own: _made(outcome, f"m{number}") for number, own in enumerate(names)}


def _made(outcome: Outcome, alias: str) -> str | SyncError:
    """The company's global id, or why it was not made. Raises AccountError if companies may not be made at all."""
    unclear = Uncertain("shopify.shape", request_id=outcome.reply.request_id or None)
    result = outcome.data.get(alias)
    if not isinstance(result, dict):
        error = outcome.error_for(alias) or unclear
        if isinstance(error, AccountError):
            raise error
        return error
    try:
        errors = graphql.user_errors(result)
        if errors:
            return refused(errors, step=COMPANY_CREATE)
        return payload.text(payload.obj(result, "company"), "id", "company")
    except VendorChanged:
        return unclear
