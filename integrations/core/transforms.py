"""The pure transforms a mapping rule may name. The mapping editor and the docs list this registry."""

from integrations.core.rules import Context, Transform, Unusable
from integrations.core.values import Value, clean_text


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise Unusable("rule.not_text")
    return value


def _trim(value: Value, _: Context) -> Value:
    return clean_text(_text(value)) or None


def _lower(value: Value, _: Context) -> Value:
    return _text(value).lower()


def _upper(value: Value, _: Context) -> Value:
    return _text(value).upper()


def _email(value: Value, _: Context) -> Value:
    """One address, trimmed and lower-cased. Only the shape is judged: one @, a dot after it, no blanks."""
    text = clean_text(_text(value)).lower()
    if not text:
        return None
    local, at, domain = text.partition("@")
    if not (at and local and "." in domain.strip(".") and " " not in text and "@" not in domain):
        raise Unusable("rule.email_unusable")
    return text


def _single_line(value: Value, _: Context) -> Value:
    """Text without line breaks and control characters, which other systems refuse or render badly."""
    text = _text(value)
    if text.isalnum() and text.isascii():
        return text
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return clean_text(text) or None


TRANSFORMS: dict[str, Transform] = {
    transform.name: transform
    for transform in (
        Transform("trim", "Remove blanks around and doubled blanks inside", _trim),
        Transform("lower", "lower case", _lower),
        Transform("upper", "UPPER CASE", _upper),
        Transform("email", "E-mail address, lower case", _email),
        Transform("single_line", "One line of plain text", _single_line),
    )
}
