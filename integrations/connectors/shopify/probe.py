""" "Test connection": which shop this is, what the token may do, and whether the plan lets it see persons."""

from collections.abc import Mapping

from integrations.connectors.base import Probe
from integrations.connectors.shopify.call import API_VERSION, call, read, served_version
from integrations.connectors.shopify.decoding import number_of
from integrations.connectors.shopify.locations import locations
from integrations.connectors.shopify.operations import COMPANIES_PROBE, PII_PROBE, SHOP_PROFILE
from integrations.core.errors import AccountError, VendorChanged
from integrations.toolkit import payload
from integrations.toolkit.http import Client, Reply

NEEDED_SCOPES = ("read_customers", "write_customers")
FLOWS_SCOPES: Mapping[str, tuple[str, ...]] = {
    "products": ("read_products", "write_products"),
    "stock": ("read_products", "read_inventory", "write_inventory", "read_locations"),
    "orders": ("read_orders", "write_orders", "read_products"),
    "sales": ("read_orders", "read_products"),
}

Finding = tuple[str, str]


def verify(client: Client) -> Probe:
    """What the shop says of itself and of the token. Raises what the client raises if the token is refused."""
    answered = call(client, SHOP_PROFILE, {}, cost=12)
    if answered.problems:
        raise answered.problems[0].error
    shop = payload.obj(answered.data, "shop", "data")
    installation = payload.obj(answered.data, "currentAppInstallation", "data")
    scopes = _scopes(installation)
    domain = payload.text(shop, "myshopifyDomain", "shop")
    installation_id = number_of(payload.text(installation, "id", "currentAppInstallation"))
    name, plan = _words(shop, "name"), _words(payload.obj(shop, "plan", "shop"), "publicDisplayName")
    protected = _protected_data(client) if _missing(scopes) == () else "unknown"
    b2b = _companies(client)
    places, told_places = _places(client) if "read_locations" in scopes else ({}, ())
    zone = payload.optional_text(shop, "ianaTimezone", "shop") or ""
    currency = payload.optional_text(shop, "currencyCode", "shop") or ""
    facts = {
        "shop": domain,
        "handle": domain.removesuffix(".myshopify.com"),
        "installation": installation_id,
        "plan": plan,
        "currency": currency,
        "zone": zone,
        "country": payload.optional_text(payload.optional_obj(shop, "shopAddress", "shop") or {}, "countryCodeV2")
        or "",
        "scopes": ",".join(sorted(scopes)),
        "taxes_included": "yes" if payload.optional_flag(shop, "taxesIncluded", "shop") else "no",
        "protected_data": protected,
        "b2b": "yes" if b2b else "no",
        "api_version": served_version(answered.reply),
        **places,
    }
    findings = (
        ("ok", f"The shop is {name} ({domain}), on the plan {plan}; times in {zone}, prices in {currency}."),
        *_other_shop(client.account, domain),
        *_scope_findings(scopes),
        *told_places,
        _companies_finding(has_companies=b2b),
        *_protected_findings(protected),
        *_version_findings(answered.reply),
    )
    return Probe(
        account_id=number_of(payload.text(shop, "id", "shop")),
        account_name=name,
        subject=f"installation:{installation_id}",
        zone=zone,
        facts={word: fact for word, fact in facts.items() if fact},
        findings=findings,
    )


def _scopes(installation: payload.Json) -> frozenset[str]:
    """The scopes granted; one to write includes its one to read."""
    granted = {payload.text(scope, "handle") for scope in payload.items(installation, "accessScopes")}
    return frozenset(granted | {f"read_{name[6:]}" for name in granted if name.startswith("write_")})


def _missing(scopes: frozenset[str]) -> tuple[str, ...]:
    return tuple(scope for scope in NEEDED_SCOPES if scope not in scopes)


def _protected_data(client: Client) -> str:
    """``open``, ``closed``, or ``unknown`` where there is no customer to look at. Decided by what Shopify refuses,
    never by nulls: the first customer may simply have no e-mail address."""
    try:
        answered = read(client, PII_PROBE, {}, cost=8)
    except AccountError as error:
        if error.code in ("shopify.protected_data", "shopify.scope_missing"):  # the scopes were seen to be there
            return "closed"
        raise
    except VendorChanged as error:
        if error.code == "shopify.version_changed":
            return "unknown"
        raise
    nodes = payload.items(payload.obj(answered.data, "customers", "data"), "nodes", "customers")
    return "open" if nodes else "unknown"


def _companies(client: Client) -> bool:
    """Whether the shop shows its companies, of which there may be none yet: plan and permission both decide, and only a
    refusal tells."""
    try:
        answered = read(client, COMPANIES_PROBE, {}, cost=4)
        payload.items(payload.obj(answered.data, "companies", "data"), "nodes", "companies")
    except (AccountError, VendorChanged):
        return False
    return True


def _places(client: Client) -> tuple[Mapping[str, str], tuple[Finding, ...]]:
    """How many places of the shop's own keep stock, and which one it is where there is one only, so that a flow need
    not ask. What cannot be read is said in words: a shop without flows of stock works all the same."""
    try:
        ours = [place for place in locations(client) if place.is_ours]
    except (AccountError, VendorChanged) as error:
        if error.code == "shopify.version_changed":  # which is told for the whole connection
            return {}, ()
        return {}, (("warning", f"The shop's locations could not be read ({error.code})."),)
    facts = {"locations": str(len(ours))}
    if len(ours) == 1:
        return facts | {"location": ours[0].number}, (("ok", f"Stock is kept at {_short(ours[0].name)}."),)
    return facts, (("ok", f"Stock is kept at {len(ours)} locations: flows of stock ask which one is meant."),)


def _other_shop(account: str, domain: str) -> tuple[Finding, ...]:
    if account == domain:
        return ()
    return (("problem", f"The token answers for {domain}, but this connection is for {account}."),)


def _scope_findings(scopes: frozenset[str]) -> tuple[Finding, ...]:
    missing = _missing(scopes)
    if not missing:
        return (("ok", "The token may read and write customers."), *_flow_findings(scopes))
    told = (
        f"The token lacks {' and '.join(missing)}. Add it under Apps and sales channels, Develop apps, "
        "Configuration, then install the app again and paste the new token."
    )
    return (("problem", told),)


def _flow_findings(scopes: frozenset[str]) -> tuple[Finding, ...]:
    """What the token lacks for flows that this connection may not have."""
    findings = []
    for flows, needed in FLOWS_SCOPES.items():
        if lacking := [scope for scope in needed if scope not in scopes]:
            told = f"Flows of {flows} need {' and '.join(lacking)}, which the token lacks. Other flows do not."
            findings.append(("warning", told))
    return (*findings, *_old_orders(scopes))


def _old_orders(scopes: frozenset[str]) -> tuple[Finding, ...]:
    """Without a scope that Shopify grants on request, older orders are absent, and nothing says so."""
    if "read_orders" not in scopes or "read_all_orders" in scopes:
        return ()
    told = (
        "The token lacks read_all_orders, so Shopify hides orders older than sixty days: an invoice that changes after "
        "that waits for a person, as if its order were gone."
    )
    return (("warning", told),)


def _protected_findings(protected: str) -> tuple[Finding, ...]:
    if protected == "open":
        return (("ok", "Names, e-mail addresses, phone numbers and addresses may be read."),)
    if protected == "unknown":
        return (("warning", "Whether personal details may be read is not known yet: the shop showed no customer."),)
    told = (
        "Shopify withholds names, e-mail addresses, phone numbers and addresses from this app. On the Basic plan it "
        "does so for every app made in the shop's admin: the plan must be Grow or above. Check it under Settings, Plan."
    )
    return (("problem", told),)


def _companies_finding(*, has_companies: bool) -> Finding:
    if has_companies:
        return ("ok", "The shop may keep companies (B2B): a flow may make customers their contacts.")
    return ("ok", "The shop keeps no companies (B2B), or hides them: a flow writes a company into the address.")


def _version_findings(reply: Reply) -> tuple[Finding, ...]:
    served = served_version(reply)
    if served == API_VERSION:
        return ()
    return (("warning", f"Shopify answers with API version {served}, Suture was written for {API_VERSION}."),)


def _words(row: Mapping[str, object], name: str) -> str:
    return _short(payload.text(row, name))


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
