"""What a made-up clinic sells: about sixty products and a hundred and twenty invoices of every kind, by counting.

A canary stands in everything that must not leave the practice system.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from integrations.connectors.cliniko.sandbox_goods import add_product, add_tax, adjust, archive_product
from integrations.connectors.cliniko.sandbox_invoices import add_invoice, archive_invoice, credit, items_of
from integrations.connectors.cliniko.sandbox_lists import Row
from integrations.connectors.cliniko.sandbox_shelves import row_of
from integrations.connectors.cliniko.sandbox_staff import add_practitioner, add_user
from integrations.connectors.cliniko.sandbox_world import CANARY, Account, ClinikoWorld

_GOODS = (
    ("Foam roller", "FR", "49.95"), ("Resistance band", "RB", "14.5"), ("Heat pack", "HP", "24.95"),
    ("Lumbar cushion", "LC", "89"), ("Kinesiology tape", "KT", "18.9"), ("Ankle brace", "AB", "65"),
    ("Massage ball", "MB", "12.95"), ("Wrist splint", "WS", "42.5"), ("Balance pad", "BP", "79.95"),
    ("Orthotic insole", "OI", "119"), ("Hand cream", "HC", "22"), ("Walking pole", "WP", "54.95"),
)  # fmt: skip
_SIZES = (("small", "S"), ("medium", "M"), ("large", "L"), ("blue", "BL"), ("black", "BK"))
_SERVICE_PRICES = ("98", "135", "72.5", "180")
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class _Clinic:
    """What the invoices of one clinic are made from."""

    products: tuple[str, ...]
    patients: tuple[str, ...]
    practitioners: tuple[str, ...]
    business: str


def seed_trade(world: ClinikoWorld, account: Account | None = None, *, invoices: int = 120) -> None:
    """Taxes, staff, products and so many invoices for a clinic that has patients."""
    home = account or world.first
    products = tuple(seed_products(world, home))
    clinic = _Clinic(products, tuple(home.patients), tuple(_staff(world, home)), str(int(home.id) + 1))
    whole: list[str] = []
    for number, stamp in enumerate(_stamps(world, invoices, days=90)):
        if number % 12 == 11:
            _credit(world, whole[-(1 + number % 5)], number, stamp)
        else:
            whole.append(_invoice(world, home, clinic, number, stamp))
    for key in whole[5::40]:
        archive_invoice(world, key)


def seed_products(world: ClinikoWorld, home: Account) -> Iterator[str]:
    """Sixty: some without a code or with another's, untracked, oversold, free of tax, or no longer sold."""
    stamp = _stamp(world, 400 * _DAY)
    gst = add_tax(world, home, name="GST", rate="10.0", created_at=stamp)
    free = add_tax(world, home, name="GST free", rate="0.0", created_at=stamp)
    for number in range(60):
        name, letters, price = _GOODS[number % 12]
        size, letter = _SIZES[number // 12]
        key = add_product(
            world, home, name=f"{name}, {size}", item_code=_code(number, f"{letters}-{letter}"), price=price,
            tax_id=(gst, gst, gst, free, None)[number % 5], cost_price="9.125" if number % 3 else None,
            stock_level=None if number % 10 == 4 else "40.0", notes=f"{CANARY}-product-{number}",
            serial_number=f"93000000{number:05d}" if number % 4 else None,
            product_supplier_name=f"{CANARY}-supplier", created_at=stamp,
        )  # fmt: skip
        if number % 10 == 7:
            adjust(world, key, "-41", "Correction", notes=f"{CANARY}-stock-take", created_at=stamp)
        if number % 20 == 19:
            archive_product(world, key)
        yield key


def _code(number: int, code: str) -> str | None:
    return None if number % 15 == 8 else "FR-S" if number == 30 else code


def _staff(world: ClinikoWorld, home: Account) -> Iterator[str]:
    """Two who treat and sign in, one who has left, one who never signs in."""
    told = {"description": f"{CANARY}-description", "designation": f"{CANARY}-designation"}
    for number, (first, last) in enumerate((("Tama", "Reid"), ("Ines", "Okafor"), ("Lena", "Moss"), ("Abe", "Lund"))):
        email = f"{first}.{last}@example.com".lower()
        user = add_user(world, home, first_name=first, last_name=last, email=email) if number < 3 else None
        yield add_practitioner(
            world, home, first_name=first, last_name=last, label=f"{first} {last}", user_id=user, active=number != 2, **told
        )  # fmt: skip


def _invoice(world: ClinikoWorld, home: Account, clinic: _Clinic, number: int, stamp: str) -> str:
    """Every seventh is a counter sale to nobody known, every fifth is open, every eleventh closed unpaid."""
    status = 10 if number % 5 == 3 else 30 if number % 11 == 6 else 20
    known: Row = {"business_id": clinic.business}
    if number % 7:
        known |= {
            "patient_id": clinic.patients[number % len(clinic.patients)],
            "practitioner_id": clinic.practitioners[number % len(clinic.practitioners)],
            "appointment_id": str(7_770_000 + number),
        }
    secret = {name: f"{CANARY}-{name}-{number}" for name in ("invoice_to", "notes", "patient_extra_information")}
    address = f"https://pay.example/{CANARY}-{number}"
    given = known | secret | {"status": status, "online_payment_url": address, "created_at": stamp}
    return add_invoice(world, list(_items(world, clinic, number)), home, **given)


def _items(world: ClinikoWorld, clinic: _Clinic, number: int) -> Iterator[Row]:
    """By turns a service, a product, both, and a product with a discount in per cent or in money."""
    kind = number % 6 if number % 7 else 1
    if kind in (0, 2, 5):
        yield _service(number)
    if kind != 0:
        yield _sold(world, clinic.products[number % len(clinic.products)]) | {"quantity": 1 + number % 3}
    if kind == 3:
        yield _sold(world, clinic.products[(number * 7) % len(clinic.products)]) | {"percent": 15}
    if kind == 4:
        yield _sold(world, clinic.products[(number * 5) % len(clinic.products)]) | {"off": "2.5"}


def _service(number: int) -> Row:
    """Health services are free of tax, most of them."""
    return {
        "name": f"{CANARY}-service-{number}", "code": f"{CANARY}-code-{number % 9}",
        "billable_item_id": str(8_880_000 + number % 9), "price": _SERVICE_PRICES[number % 4],
        "rate": 10 if number % 8 == 2 else 0,
        "concession_type_name": f"{CANARY}-concession" if number % 6 == 5 else None,
    }  # fmt: skip


def _sold(world: ClinikoWorld, product: str) -> Row:
    row = row_of(world, "products", product)
    taxed = row["price_including_tax"] != row["price_ex_tax"]
    return {
        "name": f"{CANARY}-{row['name']}", "code": row["item_code"], "product_id": product,
        "price": row["price_including_tax"], "rate": 10 if taxed else 0,
    }  # fmt: skip


def _credit(world: ClinikoWorld, invoice: str, number: int, stamp: str) -> None:
    """The whole invoice, or one of its first item; paid out, or left as credit."""
    first = next(iter(items_of(world, invoice)))
    quantities = {first: 1} if number % 24 == 11 else None
    notes = f"{CANARY}-credit-{number}"
    status = 40 if number % 36 == 11 else 20
    credit(world, invoice, quantities, created_at=stamp, status=status, notes=notes)


# -- many


def fill_products(world: ClinikoWorld, count: int, account: Account | None = None) -> list[str]:
    """So many plain tracked products; their ids."""
    stamps = _stamps(world, count, days=300)
    return [
        add_product(
            world, account, name=f"Heat pack {number}", item_code=f"B-{number}", price="20", stock_level="5.0",
            created_at=stamp,
        )
        for number, stamp in enumerate(stamps)
    ]  # fmt: skip


def fill_invoices(world: ClinikoWorld, count: int, account: Account | None = None) -> list[str]:
    """So many invoices over one plain item; their ids."""
    stamps = _stamps(world, count, days=300)
    return [
        add_invoice(world, [{"price": 20 + number}], account, created_at=stamp) for number, stamp in enumerate(stamps)
    ]


def _stamps(world: ClinikoWorld, count: int, *, days: float) -> Iterator[str]:
    """So many instants, evenly over the last ``days``, the newest an hour ago."""
    step = days * _DAY / max(1, count)
    return (_stamp(world, 3_600 + (count - 1 - number) * step) for number in range(count))


def _stamp(world: ClinikoWorld, seconds_ago: float) -> str:
    return datetime.fromtimestamp(int(world.clock.now() - seconds_ago), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
