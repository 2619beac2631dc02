"""Shopify as facts: the account form, how its address is built, its limit, its refusals.

Sources for every fact: README.md beside this file.
"""

import re
from collections.abc import Mapping

from integrations.connectors.base import Account, Connector, Credential
from integrations.connectors.shopify.customers import CUSTOMERS
from integrations.connectors.shopify.inventory import INVENTORY
from integrations.connectors.shopify.orders import ORDERS
from integrations.connectors.shopify.probe import verify
from integrations.connectors.shopify.products import PRODUCTS
from integrations.connectors.shopify.sales import SALES
from integrations.toolkit.addresses import https_origin
from integrations.toolkit.http import Limit, LimitStyle
from integrations.toolkit.refusals import ErrorRule, account_error

DOMAIN = "myshopify.com"

_HANDLE = re.compile(r"[a-z0-9][a-z0-9-]{0,61}[a-z0-9]|[a-z0-9]")
_ADMIN_URL = re.compile(r"(?:https://)?admin\.shopify\.com/store/([^/?#]+)(?:[/?#].*)?")
_SHOP_URL = re.compile(r"(?:https://)?([^/?#]+)\.myshopify\.com(?:/(?:admin(?:[/?#].*)?)?)?")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,200}")

_NO_SHOP = (
    "This is not a Shopify shop. Give the handle (ef760-ef), the address of the admin "
    "(admin.shopify.com/store/ef760-ef) or the domain (ef760-ef.myshopify.com)."
)


def normalise_account(typed: str, _credentials: Mapping[str, str]) -> str:
    """The one name of a shop, ``ef760-ef.myshopify.com``, from its handle, admin URL or domain.

    Raises ValueError with a sentence for anything else; only blanks around it are forgiven.
    """
    text = typed.strip(" ").lower() if typed.isascii() else ""
    found = _ADMIN_URL.fullmatch(text) or _SHOP_URL.fullmatch(text)
    handle = found[1] if found else text
    if not _HANDLE.fullmatch(handle) or not text.isprintable():
        raise ValueError(_NO_SHOP)
    https_origin(f"{handle}.{DOMAIN}", under=DOMAIN)
    return f"{handle}.{DOMAIN}"


def origin(account: Account) -> str:
    """Raises ValueError if the stored name is not in the one form that ``normalise_account`` makes."""
    if normalise_account(account.name, {}) != account.name:
        raise ValueError(_NO_SHOP)
    return https_origin(account.name, under=DOMAIN)


def headers(account: Account) -> Mapping[str, str]:
    """Raises ValueError with a sentence, never with the token, for what cannot be one."""
    token = account.credentials["access_token"].strip()
    if not _TOKEN.fullmatch(token):
        raise ValueError("This does not look like an access token: copy it again from the app in the shop's admin.")
    return {"X-Shopify-Access-Token": token}


def subject(account: Account) -> str:
    """Who owns the quota: this app in this shop, known by its installation once probed."""
    known = account.facts.get("installation")
    return f"installation:{known}" if known else account.name


ERRORS: Mapping[int, ErrorRule] = {
    401: "shopify.token_refused",
    402: account_error("shopify.shop_frozen"),
    403: "shopify.forbidden",
    404: account_error("shopify.shop_absent"),
    423: account_error("shopify.shop_locked"),
    429: "shopify.throttled",
    430: account_error("shopify.security_refusal"),
}

SHOPIFY = Connector(
    name="shopify",
    label="Shopify",
    account_label="Shop (handle, admin URL or myshopify domain)",
    credentials=(
        Credential(
            "access_token",
            "Admin API access token",
            secret=True,
            help="From the shop's admin: Settings, Apps and sales channels, Develop apps, the app, API credentials. "
            "The app needs the scopes read_customers and write_customers; flows of products need write_products, those of "
            "stock write_inventory and read_locations, those of orders write_orders, those of sales read_orders and "
            "read_products.",
        ),
        Credential(
            "webhook_secret",
            "API secret key",
            secret=True,
            required=False,
            help="From the same page. It proves that a notification really comes from the shop.",
        ),
    ),
    # Start values of the oldest plans; every answer says what holds for this shop.
    limit=Limit(LimitStyle.POINTS, amount=50, per_s=1, capacity=1000),
    streams=(CUSTOMERS, PRODUCTS, INVENTORY, ORDERS, SALES),
    normalise_account=normalise_account,
    origin=origin,
    headers=headers,
    verify=verify,
    subject=subject,
    errors=ERRORS,
)
