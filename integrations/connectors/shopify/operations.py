"""The GraphQL documents. Assembled from checked parts: names of metafields are the only thing that varies.

Every document that can come out of here is validated in the tests against ``schema.graphql``, with deprecated
members refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path

SHOP_PROFILE = """\
query ShopProfile {
  shop {
    id
    name
    myshopifyDomain
    currencyCode
    ianaTimezone
    taxesIncluded
    plan { publicDisplayName shopifyPlus partnerDevelopment }
    shopAddress { countryCodeV2 provinceCode }
  }
  currentAppInstallation { id accessScopes { handle } }
  publicApiVersions { handle supported }
}"""

PII_PROBE = """\
query PiiProbe {
  customers(first: 1, sortKey: ID) {
    nodes {
      id
      firstName
      defaultEmailAddress { emailAddress }
      defaultPhoneNumber { phoneNumber }
      defaultAddress { address1 zip }
    }
  }
}"""

DEFINITION_CREATE = """\
mutation MetafieldDefinitionCreate($definition: MetafieldDefinitionInput!) {
  metafieldDefinitionCreate(definition: $definition) {
    createdDefinition { id }
    userErrors { code field message }
  }
}"""

DEFINITIONS = """\
query MetafieldDefinitions($ownerType: MetafieldOwnerType!, $namespace: String!, $key: String!) {
  metafieldDefinitions(ownerType: $ownerType, namespace: $namespace, key: $key, first: 1) {
    nodes { id type { name } capabilities { uniqueValues { enabled } } }
  }
}"""

COMPANIES_PROBE = "query CompaniesProbe { companies(first: 1, sortKey: ID) { nodes { id } } }"

METAFIELDS = "metafields."
TAG = "tag."
METAFIELD_SHAPE = r"([A-Za-z0-9_-]{3,255})\.([A-Za-z0-9_-]{2,64})"
_METAFIELD = re.compile(re.escape(METAFIELDS) + METAFIELD_SHAPE)


def metafield_name(field: str) -> tuple[str, str]:
    """Namespace and key of ``metafields.<namespace>.<key>``. Raises KeyError for anything else."""
    found = _METAFIELD.fullmatch(field)
    if found is None:
        raise KeyError(field)
    return found[1], found[2]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is read of a record of this ``kind`` (Customer, Order), as the fragment ``R``. ``metafields`` are field
    names in the order of their aliases ``f0``, ``f1`` .., ``tags`` the ``tag.`` fields; ``objects`` is how many objects
    one record counts in Shopify's cost."""

    kind: str
    fields: frozenset[str]
    metafields: tuple[str, ...]
    tags: tuple[str, ...]
    text: str
    objects: int


def select(kind: str, fields: frozenset[str], parts: Sequence[str], *, more: int = 0) -> Selection:
    """A selection of these parts, and of the open fields asked for. ``more`` objects are counted for connections.

    Raises KeyError for a metafield that cannot be one.
    """
    metafields = tuple(sorted(name for name in fields if name.startswith(METAFIELDS)))
    tags = tuple(sorted(name for name in fields if name.startswith(TAG)))
    asked = [*parts, *["tags"] * bool(tags)]
    for number, name in enumerate(metafields):
        namespace, key = metafield_name(name)
        asked.append(f'f{number}: metafield(namespace: "{namespace}", key: "{key}") {{ value }}')
    text = " ".join(asked)
    fragment = f"fragment R on {kind} {{ {text} }}"
    return Selection(kind, fields, metafields, tags, fragment, 1 + more + text.count("{"))


@lru_cache(maxsize=256)
def selection(fields: frozenset[str]) -> Selection:
    """The part of a customer that these stream fields need. Raises KeyError for a metafield that cannot be one."""
    parts = ["id updatedAt createdAt", *(name for name in ("firstName", "lastName") if name in fields)]
    if fields & {"email", "emailMarketing"}:
        parts.append("defaultEmailAddress { emailAddress marketingState }")
    if fields & {"phone", "smsMarketing"}:
        parts.append("defaultPhoneNumber { phoneNumber smsMarketingConsent { state } }")
    if COMPANY in fields:
        parts.append(f"{CONTACTS} {{ company {{ name externalId }} }}")
    if any(name.startswith("address.") for name in fields):
        parts.append(f"defaultAddress {{ {ADDRESS} }}")
    return select("Customer", fields, parts)


COMPANY = "company"
CONTACTS = "companyContactProfiles"
COMPANY_CREATE = "companyCreate"
ADDRESS = "id firstName lastName company address1 address2 city provinceCode zip countryCodeV2 phone"


class Step(StrEnum):
    """One mutation that a write may need next."""

    CREATE = "customerCreate"
    UPDATE = "customerUpdate"
    CLEAR_METAFIELDS = "metafieldsDelete"
    EMAIL_CONSENT = "customerEmailMarketingConsentUpdate"
    SMS_CONSENT = "customerSmsMarketingConsentUpdate"
    COMPANY_ASSIGN = "companyAssignCustomerAsContact"
    ADDRESS_CREATE = "customerAddressCreate"
    ADDRESS_UPDATE = "customerAddressUpdate"
    SET = "customerSet"  # this and the next only as rows of a bulk run
    SET_METAFIELDS = "metafieldsSet"
    TAGS_ADD = "tagsAdd"
    TAGS_REMOVE = "tagsRemove"


@dataclass(frozen=True, slots=True)
class Shape:
    """One mutation: its variables with their types and its arguments, ``{n}`` being the item's number, and what is
    selected of its answer. ``points`` are what it costs beyond ten and its objects."""

    variables: tuple[str, ...]
    arguments: str
    answer: str
    directive: str = ""
    points: int = 0


def tags_shape(kind: str) -> Shape:
    """``tagsAdd`` and ``tagsRemove`` of one kind of record."""
    answer = f"node {{ ... on {kind} {{ ...R }} }} userErrors {{ field message }}"
    return Shape(("$c{n}: ID!", "$i{n}: [String!]!"), "id: $c{n}, tags: $i{n}", answer)


CLEAR_METAFIELDS = Shape(
    ("$i{n}: [MetafieldIdentifierInput!]!",),
    "metafields: $i{n}",
    "deletedMetafields { namespace key } userErrors { field message }",
)
_CUSTOMER = "customer { ...R } userErrors { field message }"
_ADDRESS = f"address {{ {ADDRESS} }} userErrors {{ field message }}"

SHAPES: dict[str, Shape] = {
    Step.CREATE: Shape(("$i{n}: CustomerInput!",), "input: $i{n}", _CUSTOMER),
    Step.UPDATE: Shape(("$i{n}: CustomerInput!",), "input: $i{n}", _CUSTOMER),
    Step.CLEAR_METAFIELDS: CLEAR_METAFIELDS,
    Step.EMAIL_CONSENT: Shape(("$i{n}: CustomerEmailMarketingConsentUpdateInput!",), "input: $i{n}", _CUSTOMER),
    Step.SMS_CONSENT: Shape(("$i{n}: CustomerSmsMarketingConsentUpdateInput!",), "input: $i{n}", _CUSTOMER),
    Step.COMPANY_ASSIGN: Shape(
        ("$o{n}: ID!", "$c{n}: ID!"),
        "companyId: $o{n}, customerId: $c{n}",
        "companyContact { id } userErrors { code field message }",
    ),
    Step.ADDRESS_CREATE: Shape(
        ("$c{n}: ID!", "$i{n}: MailingAddressInput!"),
        "customerId: $c{n}, address: $i{n}, setAsDefault: true",
        _ADDRESS,
    ),
    Step.ADDRESS_UPDATE: Shape(
        ("$c{n}: ID!", "$a{n}: ID!", "$i{n}: MailingAddressInput!"),
        "customerId: $c{n}, addressId: $a{n}, address: $i{n}, setAsDefault: true",
        _ADDRESS,
    ),
    Step.TAGS_ADD: tags_shape("Customer"),
    Step.TAGS_REMOVE: tags_shape("Customer"),
}


@lru_cache(maxsize=512)
def write_document(title: str, steps: tuple[tuple[str, Shape], ...], selected: Selection) -> str:
    """One mutation for a batch: step number n is alias ``m<n>``, its variables bear its number: ``$i<n>``, ``$c<n>``."""
    variables: list[str] = []
    lines: list[str] = []
    for number, (step, shape) in enumerate(steps):
        variables += (text.format(n=number) for text in shape.variables)
        directive = f" {shape.directive.format(n=number)}" if shape.directive else ""
        lines.append(f"  m{number}: {step}({shape.arguments.format(n=number)}){directive} {{ {shape.answer} }}")
    head = f"mutation {title}({', '.join(variables)})"
    body = "\n".join([head + " {", *lines, "}"])
    return f"{body}\n{selected.text}" if "...R" in body else body


def shape_points(shape: Shape, selected: Selection) -> int:
    """What Shopify will ask for one step: ten points for a mutation and one per object selected."""
    records = shape.answer.count("...R")
    return 10 + shape.points + shape.answer.count("{") + records * (selected.objects - 1)


@lru_cache(maxsize=512)
def find_document(identifiers: int, selected: Selection) -> str:
    """So many look-ups in one query: number n is alias ``m<n>`` with the identifier ``$i<n>``."""
    kind = selected.kind
    variables = ", ".join(f"$i{number}: {kind}IdentifierInput!" for number in range(identifiers))
    root = f"{kind.lower()}ByIdentifier"
    lines = [f"  m{number}: {root}(identifier: $i{number}) {{ ...R }}" for number in range(identifiers)]
    return "\n".join([f"query Find{kind}s({variables}) {{", *lines, "}", selected.text])


NEWEST_COMPANIES = 50


@lru_cache(maxsize=64)
def companies_document(searches: int, *, among_newest: bool = False) -> str:
    """So many searches for companies: number n is alias ``m<n>`` with the search ``$q<n>``; and the newest ones."""
    variables = ", ".join(f"$q{number}: String!" for number in range(searches))
    nodes = "{ nodes { id externalId } }"
    lines = [f"  m{number}: companies(first: 5, query: $q{number}) {nodes}" for number in range(searches)]
    if among_newest:
        lines.append(f"  newest: companies(first: {NEWEST_COMPANIES}, sortKey: ID, reverse: true) {nodes}")
    return "\n".join((f"query FindCompanies({variables}) {{", *lines, "}"))


@lru_cache(maxsize=64)
def create_companies_document(size: int) -> str:
    """So many companies: number n is alias ``m<n>`` with the input ``$i<n>``."""
    variables = ", ".join(f"$i{number}: CompanyCreateInput!" for number in range(size))
    made = "{ company { id } userErrors { code field message } }"
    lines = [f"  m{number}: {COMPANY_CREATE}(input: $i{number}) {made}" for number in range(size)]
    return "\n".join((f"mutation MakeCompanies({variables}) {{", *lines, "}"))


@lru_cache(maxsize=256)
def nodes_document(size: int, selected: Selection) -> str:
    """So many records by id. The size is in the name because it decides the cost, which is learnt by document."""
    head = f"{selected.kind}sById{size}($ids: [ID!]!)"
    return "\n".join(("query", head, f"{{ nodes(ids: $ids) {{ ... on {selected.kind} {{ ...R }} }} }}", selected.text))


@lru_cache(maxsize=256)
def page_document(root: str, sort_key: str, selected: Selection) -> str:
    """A page of the list ``root``."""
    head = f"{selected.kind}sPage($first: Int!, $after: String, $query: String) {{"
    asked = f"{root}(first: $first, after: $after, query: $query, sortKey: {sort_key})"
    page = "{ nodes { ...R } pageInfo { hasNextPage endCursor } } }"
    return "\n".join(("query", head, asked, page, selected.text))


@cache
def members(enum: str) -> frozenset[str]:
    """The members of an enumeration in this API version, from the schema beside this file."""
    text = (Path(__file__).parent / "schema.graphql").read_text("utf-8")
    found = re.search(rf"enum {enum} \{{([^}}]*)\}}", text)
    return frozenset(found[1].split()) if found else frozenset()


def every_document(fields: frozenset[str]) -> Sequence[str]:
    """One of each shape, for validation."""
    selected = selection(fields)
    return (
        SHOP_PROFILE, PII_PROBE, COMPANIES_PROBE, DEFINITION_CREATE, DEFINITIONS,
        companies_document(2), companies_document(1, among_newest=True), create_companies_document(2),
        write_document("Customers", tuple(SHAPES.items()), selected),
        *(write_document("Customers", (shape,), selected) for shape in SHAPES.items()),
        find_document(3, selected), nodes_document(10, selected),
        page_document("customers", "ID", selected), page_document("customers", "UPDATED_AT", selected),
    )  # fmt: skip
