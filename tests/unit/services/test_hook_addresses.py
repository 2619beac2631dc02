"""Where the agency's webhook may lead (ASVS 13.2.4): to a plain public https address, and nowhere else."""

import pytest

from integrations.services import hooks

URL = "https://hooks.chat.example/services/T1/B2/secret?team=1"
HOSTILE = [
    "", "chat.example", "http://hooks.chat.example/x", "ftp://hooks.chat.example/x", "https://", "https://localhost/x",
    "https://127.0.0.1/x", "https://10.1.2.3/x", "https://[::1]/x", "https://[::ffff:127.0.0.1]/x", "https://0x7f.1/x",
    "https://2130706433/x", "https://user@hooks.chat.example/x", "https://hooks.chat.example@127.0.0.1/x",
    "https://hooks.chat.example:8443/x", "https://hooks.chat.example:99999/x", "https://hooks.chat.example./x",
    "https://hooks.internal/x", "https://metadata.local/x", "https://intranet/x", "https://xn--80ak6aa92e.com/x",
    "https://hooks.chat.exаmple/x", "https://hooks.chat.example/x y", "https://hooks.chat.example/x\r\nHost: a",
    "https://hooks.chat.example\\@127.0.0.1/x", "https://hooks.chat.example/x#y", "javascript:alert(1)",
    "https://hooks.chat.example/" + "x" * 2000, "https://au١.example/x",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_an_address_that_is_not_plain_public_https_is_refused(url: str) -> None:
    with pytest.raises(hooks.BadAddress) as refused:
        hooks.parsed(url)
    assert "chat" not in str(refused.value) and "127" not in str(refused.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.8", "169.254.169.254", "::1", "fd00::1", "64:ff9b::a00:1"])
def test_a_name_that_leads_inside_is_refused_at_save(address: str) -> None:
    with pytest.raises(hooks.BadAddress, match="private network"):
        hooks.check_public(hooks.parsed(URL), resolve=lambda *_: ["93.184.216.34", address])


def test_a_public_address_is_taken_apart() -> None:
    address = hooks.parsed(f" {URL} ")
    assert (address.origin, address.host) == ("https://hooks.chat.example", "hooks.chat.example")
    assert address.target == "/services/T1/B2/secret?team=1"
    hooks.check_public(address, resolve=lambda *_: ["93.184.216.34"])
