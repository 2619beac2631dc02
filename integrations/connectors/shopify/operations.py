"""The GraphQL documents. Assembled from checked parts: names of metafields are the only thing that varies.

Every document that can come out of here is validated in the tests against ``schema.graphql``, with deprecated
members refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

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
query MetafieldDefinitions($namespace: String!, $key: String!) {
  metafieldDefinitions(ownerType: CUSTOMER, namespace: $namespace, key: $key, first: 1) {
    nodes { id type { name } capabilities { uniqueValues { enabled } } }
  }
}"""

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
    """What is read of a customer. ``metafields`` are field names in the order of their aliases ``f0``, ``f1`` ..,
    ``tags`` the ``tag.`` fields;
    ``objects`` is how many objects one customer counts in Shopify's cost."""

    fields: frozenset[str]
    metafields: tuple[str, ...]
    tags: tuple[str, ...]
    text: str
    objects: int


@lru_cache(maxsize=256)
def selection(fields: frozenset[str]) -> Selection:
    """The part of a customer that these stream fields need. Raises KeyError for a metafield that cannot be one."""
    metafields = tuple(sorted(name for name in fields if name.startswith(METAFIELDS)))
    parts = ["id updatedAt createdAt"]
    tags = tuple(sorted(name for name in fields if name.startswith(TAG)))
    parts += [name for name in ("firstName", "lastName") if name in fields] + ["tags"] * bool(tags)
    if fields & {"email", "emailMarketing"}:
        parts.append("defaultEmailAddress { emailAddress marketingState }")
    if fields & {"phone", "smsMarketing"}:
        parts.append("defaultPhoneNumber { phoneNumber smsMarketingConsent { state } }")
    if any(name.startswith("address.") for name in fields):
        parts.append(f"defaultAddress {{ {ADDRESS} }}")
    for number, name in enumerate(metafields):
        namespace, key = metafield_name(name)
        parts.append(f'f{number}: metafield(namespace: "{namespace}", key: "{key}") {{ value }}')
    text = " ".join(parts)
    return Selection(
        fields, metafields, tags, " ".join(("fragment C", "on Customer {", text, "}")), 1 + text.count("{")
    )


ADDRESS = "id firstName lastName company address1 address2 city provinceCode zip countryCodeV2 phone"


class Step(StrEnum):
    """One mutation that a write may need next."""

    CREATE = "customerCreate"
    UPDATE = "customerUpdate"
    CLEAR_METAFIELDS = "metafieldsDelete"
    EMAIL_CONSENT = "customerEmailMarketingConsentUpdate"
    SMS_CONSENT = "customerSmsMarketingConsentUpdate"
    ADDRESS_CREATE = "customerAddressCreate"
    ADDRESS_UPDATE = "customerAddressUpdate"
    SET = "customerSet"  # this and the next only as rows of a bulk run
    SET_METAFIELDS = "metafieldsSet"
    TAGS_ADD = "tagsAdd"
    TAGS_REMOVE = "tagsRemove"


_CUSTOMER = "customer { ...C } userErrors { field message }"
_NODE = "node { ... on Customer { ...C } } userErrors { field message }"
_ADDRESS = f"address {{ {ADDRESS} }} userErrors {{ field message }}"

# Per step: variables with their types, arguments, what is selected.
_SHAPES: dict[Step, tuple[tuple[str, ...], str, str]] = {
    Step.CREATE: (("$i{n}: CustomerInput!",), "input: $i{n}", _CUSTOMER),
    Step.UPDATE: (("$i{n}: CustomerInput!",), "input: $i{n}", _CUSTOMER),
    Step.CLEAR_METAFIELDS: (
        ("$i{n}: [MetafieldIdentifierInput!]!",),
        "metafields: $i{n}",
        "deletedMetafields { namespace key } userErrors { field message }",
    ),
    Step.EMAIL_CONSENT: (("$i{n}: CustomerEmailMarketingConsentUpdateInput!",), "input: $i{n}", _CUSTOMER),
    Step.SMS_CONSENT: (("$i{n}: CustomerSmsMarketingConsentUpdateInput!",), "input: $i{n}", _CUSTOMER),
    Step.ADDRESS_CREATE: (
        ("$c{n}: ID!", "$i{n}: MailingAddressInput!"),
        "customerId: $c{n}, address: $i{n}, setAsDefault: true",
        _ADDRESS,
    ),
    Step.ADDRESS_UPDATE: (
        ("$c{n}: ID!", "$a{n}: ID!", "$i{n}: MailingAddressInput!"),
        "customerId: $c{n}, addressId: $a{n}, address: $i{n}, setAsDefault: true",
        _ADDRESS,
    ),
    Step.TAGS_ADD: (("$c{n}: ID!", "$i{n}: [String!]!"), "id: $c{n}, tags: $i{n}", _NODE),
    Step.TAGS_REMOVE: (("$c{n}: ID!", "$i{n}: [String!]!"), "id: $c{n}, tags: $i{n}", _NODE),
}


@lru_cache(maxsize=512)
def write_document(steps: tuple[Step, ...], selected: Selection) -> str:
    """One mutation for a batch: step number n is alias ``m<n>`` with the variables ``$i<n>``, ``$c<n>``, ``$a<n>``."""
    variables: list[str] = []
    lines: list[str] = []
    for number, step in enumerate(steps):
        declared, arguments, answer = _SHAPES[step]
        variables += (text.format(n=number) for text in declared)
        lines.append(f"  m{number}: {step.value}({arguments.format(n=number)}) {{ {answer} }}")
    head = f"mutation Customers({', '.join(variables)})"
    body = "\n".join([head + " {", *lines, "}"])
    return f"{body}\n{selected.text}" if "...C" in body else body


def step_points(step: Step, selected: Selection) -> int:
    """What Shopify will ask for one step: ten points for a mutation and one per object selected."""
    answer = _SHAPES[step][2]
    return 10 + answer.count("{") + (selected.objects - 1 if "...C" in answer else 0)


@lru_cache(maxsize=512)
def find_document(identifiers: int, selected: Selection) -> str:
    """So many look-ups in one query: number n is alias ``m<n>`` with the identifier ``$i<n>``."""
    variables = ", ".join(f"$i{number}: CustomerIdentifierInput!" for number in range(identifiers))
    lines = [f"  m{number}: customerByIdentifier(identifier: $i{number}) {{ ...C }}" for number in range(identifiers)]
    return "\n".join([f"query FindCustomers({variables}) {{", *lines, "}", selected.text])


@lru_cache(maxsize=256)
def nodes_document(size: int, selected: Selection) -> str:
    """So many customers by id. The size is in the name because it decides the cost, which is learnt by document."""
    head = f"CustomersById{size}($ids: [ID!]!)"
    return "\n".join(("query", head, "{ nodes(ids: $ids) { ... on Customer { ...C } } }", selected.text))


@lru_cache(maxsize=256)
def page_document(sort_key: str, selected: Selection) -> str:
    head = "CustomersPage($first: Int!, $after: String, $query: String) {"
    asked = f"customers(first: $first, after: $after, query: $query, sortKey: {sort_key})"
    page = "{ nodes { ...C } pageInfo { hasNextPage endCursor } } }"
    return "\n".join(("query", head, asked, page, selected.text))


def every_document(fields: frozenset[str]) -> Sequence[str]:
    """One of each shape, for validation."""
    selected = selection(fields)
    return (
        SHOP_PROFILE, PII_PROBE, DEFINITION_CREATE, DEFINITIONS,
        write_document(tuple(_SHAPES), selected), *(write_document((step,), selected) for step in _SHAPES),
        find_document(3, selected), nodes_document(10, selected),
        page_document("ID", selected), page_document("UPDATED_AT", selected),
    )  # fmt: skip
