"""A blueprint's lines as one form: fields, settings and value maps, without a clinic to try them on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.http import QueryDict

from integrations.admin import rules
from integrations.admin.flow_forms import SettingsForm, add_faults
from integrations.admin.flow_page import Faults
from integrations.admin.flow_shown import has_row
from integrations.admin.value_maps import Given, read_form, shown_maps
from integrations.flows.kind import Config, FlowKind
from integrations.models import Connection


def released_anywhere(kind: FlowKind) -> list[str]:
    """Custom fields that some clinic in scope released; whether another did is asked when a version comes to it."""
    rows = Connection.objects.filter(vendor=kind.source_vendor).values_list("released_fields", flat=True)
    return sorted({name for released in rows for name in released})


class LinesForm:
    """What the boxes say. ``given`` None: as it is kept."""

    def __init__(self, kind: FlowKind, config: Config, given: QueryDict | None) -> None:
        self.kind = kind
        self.added, self.maps = rules.Added(), Given(config.value_maps)
        self.settings = SettingsForm(kind, config, given)
        self.config = config
        if given is not None:
            self._read(given)

    def _read(self, given: QueryDict) -> None:
        told = self.settings.settings() if self.settings.is_valid() else self.config.settings
        made, self.added = rules.read_form(self.kind, replace(self.config, settings=told), given)
        self.maps = read_form(self.kind, made, given)
        self.config = replace(made, value_maps=self.maps.maps)

    @property
    def sentences(self) -> list[str]:
        """Why it cannot be kept as it was typed."""
        return [*self.added.faults, *(fault for one in self.maps.added.values() for fault in one.faults)]

    @property
    def is_right(self) -> bool:
        return not self.sentences and (not self.settings.is_bound or self.settings.is_valid())

    def drawn(self, faults: Faults) -> dict[str, Any]:
        add_faults(self.settings, {where: said for where, said in faults.items() if where.startswith("settings.")})
        return {
            "words": rules.Words.of_kind(self.kind),
            "editor": rules.editor(self.kind, released_anywhere(self.kind), self.config, faults, self.added),
            "form": self.settings,
            "maps": shown_maps(self.kind, self.config, {}, self.maps.added, faults),
            "is_blueprint": True,
            "faults": [*self._placeless(faults), *self.sentences],
        }

    def _placeless(self, faults: Faults) -> Sequence[str]:
        return [one for where, said in faults.items() if not has_row(where) and "." not in where for one in said]
