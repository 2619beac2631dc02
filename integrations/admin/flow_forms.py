"""The boxes of a flow's settings, its schedule and pilot list, and of a new flow."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from integrations.connectors import CONNECTORS
from integrations.core.rules import Choice, FreeText
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config, FlowKind
from integrations.models import Connection, Flow


class SettingsForm(forms.Form):
    """A flow kind's settings, in its own words, the default marked."""

    def __init__(self, kind: FlowKind, config: Config, *args: Any) -> None:
        super().__init__(*args)
        self.kind = kind
        for setting in kind.settings:
            self.fields[setting.name] = _setting_field(setting, config.settings.get(setting.name, setting.default))
        self.fields["note"] = forms.CharField(label="Note for the revision", required=False, max_length=200)

    def settings(self) -> dict[str, str]:
        return {setting.name: self.cleaned_data[setting.name] for setting in self.kind.settings}


def _setting_field(setting: Choice | FreeText, value: str) -> forms.Field:
    if isinstance(setting, FreeText):
        told = f"{setting.help} Default: {setting.default}." if setting.default else setting.help
        return forms.CharField(label=setting.label, help_text=told, initial=value, required=False, max_length=255)
    choices = [
        (option, f"{words} (default)" if option == setting.default else words) for option, words in setting.options
    ]
    return forms.ChoiceField(
        label=setting.label, help_text=setting.help, choices=choices, initial=value, widget=forms.RadioSelect
    )


def add_faults(form: forms.Form, faults: Mapping[str, Sequence[str]]) -> None:
    """Sentences beside the boxes they are about; those about none at the form's head."""
    for where, sentences in faults.items():
        name = where.removeprefix("settings.")
        for sentence in sentences:
            form.add_error(name if name in form.fields else None, sentence)


def mark_origins(form: SettingsForm, origins: Mapping[str, str]) -> None:
    """Says beside each setting whose it is."""
    for name, box in form.fields.items():
        box.origin = origins.get(f"settings.{name}", "")  # type: ignore[attr-defined]  # read by the template


class ScheduleForm(forms.Form):
    """When a flow runs, what it starts with, and which records a pilot lets through."""

    every = forms.CharField(
        label="How often",
        max_length=60,
        help_text="A duration such as 15m or 2h, or a cron line in the clinic's time zone: 0 6 * * 1-5.",
    )
    urgent = forms.BooleanField(label="As fast as the quota allows", required=False)
    start = forms.CharField(
        label="Which records",
        max_length=20,
        help_text="all, activation (made after the flow went live), or a date such as 2026-07-01.",
    )
    pilot_keys = forms.CharField(
        label="Pilot list",
        required=False,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text="Record numbers, one a line. The pilot writes for these only.",
    )

    def __init__(self, flow: Flow, data: Any, *, is_agency: bool) -> None:
        initial = {
            "every": flow.every,
            "urgent": flow.urgent,
            "start": flow.start,
            "pilot_keys": "\n".join(flow.pilot_keys),
        }
        super().__init__(data, initial=initial)
        if not is_agency:
            for name in ("every", "urgent", "start"):
                self.fields[name].disabled = True

    def given(self) -> dict[str, Any]:
        keys = self.cleaned_data["pilot_keys"].replace(",", "\n").split()
        return {**self.cleaned_data, "pilot_keys": keys}


class FlowForm(forms.Form):
    kind = forms.ChoiceField(
        label="What flows", choices=lambda: [(kind.name, kind.label) for kind in FLOW_KINDS.values()]
    )
    source = forms.ModelChoiceField(Connection.objects.none(), label="From")
    target = forms.ModelChoiceField(Connection.objects.none(), label="To")
    name = forms.SlugField(
        label="Name",
        required=False,
        max_length=80,
        help_text="Needed only where a clinic runs the same kind twice: two shops, say.",
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        known = Connection.objects.select_related("tenant").order_by("tenant__name", "name")
        for name in ("source", "target"):
            field: Any = self.fields[name]
            field.queryset = known
            field.empty_label = "Choose a connection"
            field.label_from_instance = _with_clinic


def _with_clinic(connection: Connection) -> str:
    return f"{connection.tenant} · {connection} ({CONNECTORS[connection.vendor].label})"
