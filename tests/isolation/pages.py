"""Every page there is, read from the URL resolver, and the ways to ask for it that could show another clinic's rows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import ModelAdmin
from django.db import models
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tenants.sites import SutureSite


@dataclass(frozen=True, slots=True)
class Page:
    """One named URL. `params` are the names of what it takes; `admin` is whose page it is, if a model's."""

    name: str
    params: frozenset[str]
    admin: ModelAdmin | None

    def url(self, **values: object) -> str:
        """The address; what a page takes and is not told is `tenants`, which is an app label and no object's key."""
        return reverse(self.name, kwargs={name: values.get(name, "tenants") for name in self.params})


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `surface` is the id in `faults.md` 6 that it covers."""

    surface: str
    method: str
    url: str
    form: Mapping[str, object] = field(default_factory=dict)


def all_pages() -> Iterator[Page]:
    yield from _walk(get_resolver(), "", frozenset())


def site_pages(site: SutureSite) -> list[Page]:
    return [page for page in all_pages() if page.name.startswith(f"{site.name}:")]


def _walk(resolver: URLResolver, prefix: str, params: frozenset[str]) -> Iterator[Page]:
    for pattern in resolver.url_patterns:
        inside = params | frozenset(pattern.pattern.converters) | frozenset(pattern.pattern.regex.groupindex)
        if isinstance(pattern, URLResolver):
            space = f"{pattern.namespace}:" if pattern.namespace else ""
            yield from _walk(pattern, prefix + space, inside)
        elif pattern.name:
            yield Page(prefix + pattern.name, inside, _admin(pattern))


def _admin(pattern: URLPattern) -> ModelAdmin | None:
    admin = getattr(pattern.callback, "model_admin", None)
    return admin if isinstance(admin, ModelAdmin) else None


# What to ask of a page that takes an object, with an id that is one's own, foreign or absent


def object_asks(page: Page, key: int) -> Iterator[Ask]:
    url = page.url(object_id=key)
    yield Ask("AS8", "GET", url)
    yield Ask("AS8", "POST", url)
    yield Ask("AS7", "GET", f"{url}?_popup=1&_to_field=id")
    yield Ask("AS10", "POST", url, {"post": "yes"})
    yield Ask("AS14", "POST", url, _filled(page, key))


def key_asks(page: Page, keys: Iterable[str], clinic: str) -> Iterator[Ask]:
    """What to ask of a page that explains a record: another clinic's by its key, in its flow, and as that clinic's."""
    for key in keys:
        for more in ({}, {"clinic": clinic}, {"flow": key}):
            yield Ask("AS8", "GET", f"{page.url()}?{urlencode({'key': key, **more})}")
            yield Ask("AS14", "POST", page.url(), {"key": key, **more})


def clinic_asks(page: Page, clinic: str) -> Iterator[Ask]:
    """What to ask of a page that shows a clinic's month: another clinic's, and all the same with its minutes set."""
    for month in ("", "2026-03"):
        yield Ask("AS8", "GET", f"{page.url()}?{urlencode({'clinic': clinic, 'month': month})}")
    yield Ask("AS14", "POST", f"{page.url()}?{urlencode({'clinic': clinic})}", {"minutes-patients-to-customers": "7"})


def _filled(page: Page, key: int) -> dict[str, object]:
    """A form with something in every field, formset ids included."""
    if page.admin is None:
        return {}
    form: dict[str, object] = {"tenant": key, "clinic": key, "id": key, "_save": "Save"}
    for column in page.admin.model._meta.concrete_fields:
        form.setdefault(column.name, key if column.is_relation else "zq")
    for inline in page.admin.inlines:
        prefix = inline.model._meta.get_field(_inline_key(inline, page.admin.model)).remote_field.get_accessor_name()
        form |= {f"{prefix}-TOTAL_FORMS": 1, f"{prefix}-INITIAL_FORMS": 1, f"{prefix}-0-id": key}
        form |= {
            f"{prefix}-0-{column.name}": "zq" for column in inline.model._meta.concrete_fields if not column.is_relation
        }
        form[f"{prefix}-0-id"] = key
    return form


def _inline_key(inline: Any, parent: type[models.Model]) -> str:
    return next(
        column.name
        for column in inline.model._meta.concrete_fields
        if column.is_relation and column.related_model is parent and column.name != "tenant"
    )


# What to ask of a model's list and add pages, with a foreign id or word in every place that takes one


def list_asks(admin: ModelAdmin, site: SutureSite, *, key: int, word: str) -> Iterator[Ask]:
    opts = admin.model._meta
    base = f"{site.name}:{opts.app_label}_{opts.model_name}"
    listed = reverse(f"{base}_changelist")
    yield Ask("AS1", "GET", listed)
    yield Ask("AS1", "GET", f"{listed}?q={word}")
    yield Ask("AS1", "GET", f"{listed}?all=&o=1.-2&p=7")
    yield Ask("AS3", "GET", f"{listed}?e=1&_to_field=tenant")
    yield Ask("AS3", "GET", f"{listed}?id__exact={key}&_facets=True")
    for column in opts.concrete_fields:
        yield from _lookups(listed, column, key, word)
    for action in _actions(admin):
        for across in (0, 1):
            picked = {"action": action, "_selected_action": key, "select_across": across, "index": 0}
            yield Ask("AS12", "POST", listed, picked)
            yield Ask("AS12", "POST", listed, picked | {"post": "yes", "confirm": "yes"})
    yield Ask(
        "AS13", "POST", listed, {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": key, "_save": "Save"}
    )
    added = reverse(f"{base}_add")
    yield Ask("AS4", "GET", added)
    prefilled = "&".join(f"{column.name}={key}" for column in opts.concrete_fields if column.is_relation)
    yield Ask("AS5", "GET", f"{added}?{prefilled}&_popup=1")
    page = Page(f"{base}_add", frozenset(), admin)
    yield Ask("AS14", "POST", added, _filled(page, key))
    for column in opts.concrete_fields:
        if column.is_relation:
            place = f"app_label={opts.app_label}&model_name={opts.model_name}&field_name={column.name}"
            yield Ask("AS6", "GET", f"{reverse(f'{site.name}:autocomplete')}?{place}&term={word}")
            yield Ask("AS6", "GET", f"{reverse(f'{site.name}:autocomplete')}?{place}&term=")


def _actions(admin: ModelAdmin) -> list[str]:
    return [
        "delete_selected",
        *[action if isinstance(action, str) else action.__name__ for action in admin.actions or ()],
    ]


def _lookups(listed: str, column: Any, key: int, word: str) -> Iterator[Ask]:
    if not column.is_relation:
        yield Ask("AS3", "GET", f"{listed}?{column.name}__startswith={word}")
        return
    yield Ask("AS2", "GET", f"{listed}?{column.name}__id__exact={key}")
    yield Ask("AS3", "GET", f"{listed}?{column.name}__isnull=False")
    for inner in column.related_model._meta.concrete_fields:
        if isinstance(inner, models.CharField):
            yield Ask("AS3", "GET", f"{listed}?{column.name}__{inner.name}__startswith={word}")
