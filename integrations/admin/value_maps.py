"""A flow's tab "Value maps": what was really met, what it becomes, and the records that wait for a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db.models import Count, QuerySet
from django.http import HttpResponse, QueryDict

from integrations.admin.flow_blueprint import origin_words
from integrations.admin.flow_page import Faults, FlowPage
from integrations.admin.proposals import proposed
from integrations.flows.kind import Config, FlowKind, ValueMapSpec
from integrations.models import Delivery, DeliveryState, Flow, SeenValue
from integrations.services import desk
from integrations.services.configured import ANYTHING_ELSE, config_of
from integrations.services.seen import LONGEST
from tenants.sites import LiveView
from tenants.walls import narrow_to

UNMAPPED = "unmapped_value"
SHOWN_MAX = 200
"""Of the values that a flow met and that have no line of their own, so many are listed, the most frequent first."""

Maps = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Met:
    """How often a value was read, and how many records wait on the error desk because of it."""

    times: int = 0
    last_at: datetime | None = None
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One value. ``chosen`` is what its own line or the shipped one says, ``""`` where it goes like anything else."""

    number: int
    value: str
    label: str
    chosen: str
    chosen_words: str
    shipped: str
    met: Met
    is_unmapped: bool
    faults: tuple[str, ...] = ()
    origin: str = ""

    @property
    def words(self) -> str:
        """``Paid (20)``, or the value alone where the vendor has no word for it."""
        return f"{self.label} ({self.value})" if self.label else self.value


@dataclass(frozen=True, slots=True)
class Added:
    """The line in which a value is typed that was never met, as it came back."""

    value: str = ""
    becomes: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShownMap:
    """One value map, drawn. ``rest`` is the line for anything else; ``left_off`` counts values that are not listed."""

    spec: ValueMapSpec
    lines: tuple[Line, ...]
    rest: Line
    added: Added
    left_off: int = 0
    faults: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(action for action, _ in self.spec.actions)

    @property
    def rest_words(self) -> str:
        return self.rest.chosen_words or "Ask a person"

    @property
    def unmapped(self) -> int:
        return sum(line.is_unmapped for line in self.lines)


@dataclass(frozen=True, slots=True)
class Given:
    """A form that was read: the maps as its boxes say, and the lines that were added, by map."""

    maps: Maps
    added: Mapping[str, Added] = field(default_factory=dict)

    @property
    def has_faults(self) -> bool:
        return any(added.faults for added in self.added.values())

    @property
    def sentences(self) -> list[str]:
        """For the head of the page: the line itself may be far below."""
        return [f"Nothing was published or tried. {fault}" for added in self.added.values() for fault in added.faults]


def values_tab(page: FlowPage) -> LiveView:
    """POST ``do=try`` tries the form's maps on one record, ``do=rehearse`` rehearses them on many, anything else
    publishes them, and tries the held records again where ``again`` is ticked."""
    before = config_of(page.flow)
    given = page.request.POST if page.request.method == "POST" else QueryDict()
    is_trial = given.get("do") == "try"
    if given and not is_trial:
        page.admin.may(page.request)
    form = read_form(page.kind, before, given if page.may_edit else QueryDict())
    config = replace(before, value_maps=form.maps)
    asked = given.get("asked", "").strip()
    trial: dict[str, Any] | None = None
    faults: Faults = {}
    if is_trial and asked and not form.has_faults:
        trial, faults = yield from page.tried(asked, config)
    elif given.get("do") == "rehearse" and not form.has_faults:
        answer = proposed(page, config)
        if isinstance(answer, HttpResponse):
            return answer
        faults = answer
    elif given and not is_trial and not form.has_faults:
        refused = page.published(config)
        if refused is None:
            _try_again(page, wanted=bool(given.get("again")))
            return page.go("values")
        faults = refused
    met = met_by(page.flow, page.kind.value_maps)
    maps = shown_maps(page.kind, config, met, form.added, faults, origins=origin_words(page))
    context = {
        "maps": maps,
        "faults": [*_placeless(faults, maps), *form.sentences],
        "asked": asked,
        "trial": trial,
        "note": given.get("note", ""),
        "again": not given or bool(given.get("again")),
        "waiting": sum(line.met.waiting for one in maps for line in (*one.lines, one.rest)),
        "desk_url": page.list_url("delivery", code=UNMAPPED),
        "sheet": page.sheet("values", may_import=page.may_edit),
        "is_edited": form.has_faults or config.value_maps != before.value_maps,
    }
    return page.shown("values", context)


def _held(flow: Flow) -> QuerySet[Delivery]:
    """The flow's records that wait because a value map has no line for them, or one that says to ask."""
    held: QuerySet[Delivery] = Delivery.objects.filter(flow=flow, state=DeliveryState.HELD, code=UNMAPPED)
    return held


def _try_again(page: FlowPage, *, wanted: bool) -> None:
    if not wanted:
        return
    with narrow_to(page.flow.tenant_id):
        count = desk.retry(_held(page.flow))
    if count:
        messages.success(page.request, f"{count:,} held record{' is' if count == 1 else 's are'} tried again.")


# What was met


def met_by(flow: Flow, specs: Sequence[ValueMapSpec]) -> dict[str, dict[str, Met]]:
    """By map and value, in two questions."""
    met: dict[str, dict[str, Met]] = {spec.name: {} for spec in specs}
    for row in SeenValue.objects.filter(flow=flow):
        if row.name in met:
            met[row.name][row.source_value] = Met(row.times, row.last_at)
    told = _held(flow).order_by().values_list("codes__0__field").annotate(n=Count("pk"))
    for said, count in told:
        name, _, value = str(said or "").partition(" ")
        spec = next((spec for spec in specs if spec.source == name), None)
        if spec is not None:
            before = met[spec.name].get(value, Met())
            met[spec.name][value] = replace(before, waiting=before.waiting + count)
    return met


# What is drawn


def shown_maps(
    kind: FlowKind,
    config: Config,
    met: Mapping[str, Mapping[str, Met]],
    added: Mapping[str, Added],
    faults: Faults,
    *,
    origins: Mapping[str, str] | None = None,
) -> tuple[ShownMap, ...]:
    """``met`` by map and value; ``origins`` says in words whose a line is, by its place."""
    maps = (
        _shown(
            spec,
            config.value_maps.get(spec.name, {}),
            met.get(spec.name, {}),
            added.get(spec.name, Added()),
            faults,
        )
        for spec in kind.value_maps
    )
    return tuple(_with_origins(one, origins or {}) for one in maps)


def _with_origins(one: ShownMap, origins: Mapping[str, str]) -> ShownMap:
    def marked(line: Line) -> Line:
        return replace(line, origin=origins.get(f"values.{one.spec.name}.{line.value}", ""))

    return replace(one, lines=tuple(map(marked, one.lines)), rest=marked(one.rest))


def _shown(
    spec: ValueMapSpec, own: Mapping[str, str], met: Mapping[str, Met], added: Added, faults: Faults
) -> ShownMap:
    mapped = {value for value in (*spec.defaults, *own, *spec.known) if value != ANYTHING_ELSE}
    others = sorted((value for value in met if value and value not in mapped), key=lambda value: _rank(met[value]))
    lines = [_line(spec, own, value, met.get(value, Met()), faults) for value in (*mapped, *others[:SHOWN_MAX])]
    lines.sort(key=lambda line: (not line.is_unmapped, *_rank(line.met), len(line.value), line.value))
    rest = _line(spec, own, ANYTHING_ELSE, Met(waiting=met[""].waiting if "" in met else 0), faults)
    return ShownMap(
        spec,
        tuple(replace(line, number=number) for number, line in enumerate(lines)),
        rest,
        added,
        max(0, len(others) - SHOWN_MAX),
        tuple(faults.get(f"values.{spec.name}", ())),
    )


def _rank(met: Met) -> tuple[int, int]:
    return -met.waiting, -met.times


def _line(spec: ValueMapSpec, own: Mapping[str, str], value: str, met: Met, faults: Faults) -> Line:
    shipped = spec.defaults.get(value, "")
    chosen = own.get(value, shipped)
    return Line(
        number=0,
        value=value,
        label=spec.known.get(value, ""),
        chosen=chosen,
        chosen_words=dict(spec.actions).get(chosen, chosen),
        shipped=shipped,
        met=met,
        is_unmapped=not chosen and bool(met.times or met.waiting),
        faults=tuple(faults.get(f"values.{spec.name}.{value}", ())),
    )


def _placeless(faults: Faults, maps: Sequence[ShownMap]) -> list[str]:
    """Sentences that stand beside no line and no map."""
    places = {f"values.{one.spec.name}" for one in maps}
    places |= {f"values.{one.spec.name}.{line.value}" for one in maps for line in (*one.lines, one.rest)}
    return [sentence for where, sentences in faults.items() if where not in places for sentence in sentences]


# What comes back


def read_form(kind: FlowKind, before: Config, given: QueryDict) -> Given:
    """``map-NAME-key`` and ``map-NAME-value`` come in pairs; without a value, a line goes like anything else. A map that
    is not in the form stays as it was."""
    maps, added = dict(before.value_maps), {}
    for spec in kind.value_maps:
        keys = given.getlist(f"map-{spec.name}-key")
        if not keys:
            continue
        pairs = zip(keys, given.getlist(f"map-{spec.name}-value"), strict=False)
        lines = {key.strip(): value.strip() for key, value in pairs if key.strip() and value.strip()}
        new = _read_added(spec, given, lines)
        if new.faults:
            added[spec.name] = new
        elif new.value:
            lines[new.value] = new.becomes
        maps[spec.name] = lines
    return Given({name: lines for name, lines in maps.items() if lines}, added)


def _read_added(spec: ValueMapSpec, given: QueryDict, lines: Mapping[str, str]) -> Added:
    value, becomes = (given.get(f"add-{spec.name}-{box}", "").strip() for box in ("key", "value"))
    faults = []
    if value and not becomes:
        faults.append(f"Choose what {value} becomes.")
    if becomes and not value:
        faults.append("Type the value that it is for.")
    if value in lines:
        faults.append(f"{value} has a line already.")
    if len(value) > LONGEST:
        faults.append("That is too long for a value.")
    return Added(value, becomes, tuple(faults))
