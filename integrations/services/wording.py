"""What an explanation says, in words a receptionist knows; for pages and for the command line."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from django.utils.formats import date_format

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Field, Stream
from integrations.core.diffing import Fate
from integrations.core.values import Code, Email, Kind, Phone, Text, Value, in_words
from integrations.flows.kind import ALL_TRANSFORMS, FlowKind
from integrations.messages import Message, message
from integrations.services.candidates import label_of
from integrations.services.explain import Explanation, FieldTold
from integrations.services.foresight import Next
from integrations.toolkit import redact

MAY_NAME = (Text, Email, Phone, Code)
"""The kinds of value that may tell who somebody is."""
REASONED = {"dropped", "problem", "unmade", "clash"}
WRITING = {"create", "update", "archive"}


def in_short(labels: Iterable[str]) -> str:
    """Labels in a row, those of one family told once: ``First name, Address (6 fields)``."""
    parts = []
    for family, some in groupby(labels, key=lambda label: label.partition(": ")[0]):
        members = list(some)
        parts.append(members[0] if len(members) == 1 else f"{family} ({len(members)} fields)")
    return ", ".join(parts)


def spelt(value: Value, zone: ZoneInfo) -> str:
    """A value as a person reads it, instants in ``zone``; ``""`` for nothing."""
    if isinstance(value, datetime):
        return date_format(value.astimezone(zone), "j M Y, H:i T")
    return date_format(value, "j M Y") if isinstance(value, date) else in_words(value)


def singular(stream: Stream) -> str:
    """What one record of the stream is called: ``patient``."""
    return stream.label.lower().partition(" and ")[0].removesuffix("s")


@dataclass(frozen=True, slots=True)
class Told:
    """Something worth saying: ``tone`` is ok, info, warn, bad or idle, and only repeats what the words say."""

    title: str
    text: str = ""
    tone: str = "info"
    icon: str = "info"


@dataclass(frozen=True, slots=True)
class Wording:
    """The words for one flow's records. ``masked``: for somebody without the right to see what tells of a person."""

    kind: FlowKind
    zone: ZoneInfo
    masked: bool

    @property
    def source(self) -> str:
        return CONNECTORS[self.kind.source_vendor].label

    @property
    def target(self) -> str:
        return CONNECTORS[self.kind.target_vendor].label

    @property
    def source_record(self) -> str:
        return singular(self.kind.source)

    @property
    def target_record(self) -> str:
        return singular(self.kind.target)

    # -- names and values

    def target_field(self, name: str) -> str:
        return label_of(self.kind.target, name)

    def source_field(self, name: str) -> str:
        derived = self.kind.derived_field(name)
        return derived.label if derived else label_of(self.kind.source, name)

    def step(self, name: str) -> str:
        return ALL_TRANSFORMS[name].label

    def source_value(self, name: str, value: Value) -> str:
        derived = self.kind.derived_field(name)
        return self._value(self.kind.source, name, derived.kind if derived else None, value)

    def target_value(self, name: str, value: Value) -> str:
        return self._value(self.kind.target, name, None, value)

    def _value(self, stream: Stream, name: str, kind: Kind | None, value: Value) -> str:
        text, known = spelt(value, self.zone), stream.find_field(name)
        kind = kind or (known.kind if known else Text)
        is_plain = kind not in MAY_NAME or (isinstance(known, Field) and not known.personal)
        if not text or not self.masked or is_plain:
            return text
        if kind is Email:
            return redact.email(text)
        return redact.phone(text) if kind is Phone else redact.word(text)

    def parent(self, name: str) -> str:
        """``patients/12`` as a person says it: ``patient 12``."""
        stream, _, key = name.removeprefix("to ").partition("/")
        return f"{stream.removesuffix('s')} {key}"

    # -- one field

    def verdict(self, one: FieldTold) -> Told:
        """What becomes of a field, in a few words, and why."""
        said = VERDICTS.get(one.verdict, VERDICTS["unknown"])
        title, text = said.title.format(**self._names), said.text.format(**self._names)
        reason = message(one.code).sentence if one.code and one.verdict in REASONED else ""
        if one.verdict == Fate.MODE and one.rule is not None:
            text = MODES[one.rule.write.value].format(**self._names)
        if one.verdict == Fate.WRITE and one.changed_there:
            text = f"Somebody changed it in {self.target} since Suture wrote it."
        return Told(title, reason or text, said.tone, said.icon)

    @property
    def _names(self) -> dict[str, str]:
        return {
            "source": self.source,
            "target": self.target,
            "record": self.source_record,
            "there": self.target_record,
        }

    # -- what is next

    def next(self, told: Explanation) -> Told:
        """What would become of the record, in a sentence, and what to do about it."""
        ahead, foreseen = told.foreseen.next, told.foreseen
        if ahead.when == "desk" and foreseen.stands is not None:
            waits = message(foreseen.stands.code)
            return Told(
                f"It waits for a person: {waits.sentence}",
                f"{waits.advice} {self._again(ahead, waits)}",
                "warn",
                "front_hand",
            )
        made = self._ahead(told)
        if not ahead.blocked:
            return made
        stops = message(ahead.blocked)
        moves = ahead.action in WRITING | {"hold", "wait"}
        after = f"After that: {_lowered(made.title)}. {made.text}" if moves else made.title + "."
        return Told(
            f"Nothing for now: {_lowered(stops.sentence)}".removesuffix("."),
            f"{stops.advice} {after}".strip(),
            "warn",
            "pause_circle",
        )

    def _again(self, ahead: Next, waits: Message) -> str:
        if ahead.action in WRITING:
            return f"Tried again now, {_lowered(self._written(ahead, sure=False))}."
        if ahead.action == "hold" and ahead.code == waits.code:
            return "Tried again now, it would wait again for the same reason."
        if ahead.action == "hold":
            return f"Tried again now, it would wait for another reason: {_lowered(message(ahead.code).sentence)}"
        if ahead.action == "nothing":
            return "Tried again now, it would be found that both sides agree."
        return ""

    def _ahead(self, told: Explanation) -> Told:
        ahead = told.foreseen.next
        if ahead.action in WRITING:
            return self._writes(ahead)
        if ahead.action == "nothing":
            return self._nothing(told)
        seen = told.foreseen
        is_sent = (
            ahead.action == "unasked" and seen.target_code and seen.wish is not None and seen.wish.draft is not None
        )
        said = AHEAD["sent" if is_sent else ahead.action]
        reason = message(ahead.code) if ahead.code else None
        names = {
            **self._names,
            "parents": self._parents(ahead),
            "reason": reason.sentence.removesuffix(".") if reason else "",
            "advice": reason.advice if reason else "",
        }
        text = said.text.format(**names)
        if ahead.action == "hold":
            needs = f"It needs {names['parents']}." if ahead.waits_for else ""
            text = " ".join(filter(None, (text, needs, self._when(ahead))))
        return Told(said.title.format(**names), text, said.tone, said.icon)

    def _writes(self, ahead: Next) -> Told:
        shown = "The flow is in preview, so it is only shown and nothing is written." if ahead.is_preview else ""
        many = (
            "Should unusually many be archived in one pass, a person is asked first."
            if ahead.action == "archive"
            else ""
        )
        text = " ".join(filter(None, (self._when(ahead), many, shown)))
        return Told(self._written(ahead, sure=not ahead.is_preview), text, "info", "edit")

    def _nothing(self, told: Explanation) -> Told:
        record = f"The {self.source_record} has not changed since Suture sent it"
        if any(one.verdict == "stays" for one in told.fields):
            text = (
                f"What differs in {self.target} stays as it is until the {self.source_record} changes in {self.source}."
            )
            return Told(f"Nothing: {_lowered(record)}", text, "idle", "check")
        if told.foreseen.target_code:
            return Told(f"Nothing: {_lowered(record)}", "", "idle", "check")
        return Told("Nothing: both sides agree", "", "ok", "check_circle")

    def _written(self, ahead: Next, *, sure: bool) -> str:
        will = "will" if sure else "would"
        names = in_short(self.target_field(name) for name in ahead.writes if name != self.kind.marker)
        if ahead.action == "create":
            return f"A new {self.target_record} {will} be made in {self.target}" + (f", with {names}" if names else "")
        if ahead.action == "archive":
            return f"The {self.target_record} in {self.target} {will} be marked as archived" + (
                f" ({names})" if names else ""
            )
        return f"Suture {will} write {names or 'its mark'} in {self.target} and leave the rest"

    def _parents(self, ahead: Next) -> str:
        return ", ".join(self.parent(name) for name in ahead.waits_for) or "a record that it belongs to"

    def _when(self, ahead: Next) -> str:
        match ahead.when:
            case "due":
                return "It stands in line already and goes as soon as its turn comes."
            case "later":
                return (
                    f"Not at the next pass, which reads only what changed lately: once the {self.source_record} changes in "
                    f"{self.source}, or everything is read again."
                )
            case _:
                return "At the next pass."

    # -- whether it is what was delivered

    def since(self, told: Explanation) -> str:
        """Which input changed since the last delivery, or that none did."""
        state, foreseen = told.foreseen.state, told.foreseen
        if state is None or told.written_at is None:
            return "Suture has not delivered it in this flow yet."
        when = spelt(told.written_at, self.zone)
        if foreseen.is_as_delivered:
            return (
                f"What the rules make of it today is exactly what was delivered on {when}: the fingerprints are equal."
            )
        if foreseen.wish is None or foreseen.wish.draft is None:
            return f"It was delivered last on {when}."
        parts = []
        if names := in_short(self.target_field(name) for name in told.changed_fields):
            parts.append(names)
        if told.written_revision != foreseen.job.revision_number:
            parts.append(
                f"the flow's rules (revision {told.written_revision} then, {foreseen.job.revision_number} now)"
            )
        if not bytes(state.wish):
            parts.append("its link, which was made anew or moved")
        what = " and ".join(parts) or "fields that were not Suture's to write"
        return f"It was delivered last on {when}. Changed since: {what}."


def _lowered(text: str) -> str:
    """The beginning of a sentence inside another one; names of vendors keep their capitals."""
    first = text.partition(" ")[0]
    return text[:1].lower() + text[1:] if first in _COMMON else text


_COMMON = frozenset(
    ("The", "A", "An", "It", "This", "Nothing", "Left", "Part", "Shown", "What", "There", "Two", "Another", "Several")
)

VERDICTS: dict[str, Told] = {
    Fate.SAME: Told("Same on both sides", "", "ok", "check"),
    Fate.WRITE: Told("Will be written", "", "info", "edit"),
    Fate.UNSEEN: Told(
        "Cannot be compared", "{target} does not show it, so it is left alone.", "idle", "visibility_off"
    ),
    Fate.MODE: Told("Kept as it is", "", "idle", "lock"),
    Fate.THEIRS: Told(
        "Kept as it is", "Empty in {source}, and what stands in {target} did not come from Suture.", "idle", "lock"
    ),
    Fate.ONCE: Told(
        "Kept as it is",
        "It was set as wished, once and for all. What became of it in {target} since stays.",
        "idle",
        "lock",
    ),
    Fate.KEPT: Told("Kept as it is", "It was changed in {target}, and for this field that counts.", "idle", "lock"),
    Fate.ASK: Told("Asks a person", "It was changed on both sides.", "warn", "front_hand"),
    Fate.FIXED: Told("Asks a person", "It differs, and {target} lets nobody change it any more.", "warn", "front_hand"),
    "new": Told("Will be made with it", "", "info", "add"),
    "waits": Told("Waits with the record", "", "info", "hourglass_top"),
    "clash": Told("Asks a person", "", "warn", "front_hand"),
    "stays": Told(
        "Differs, and stays so",
        "It was changed in {target}. It is put right when the {record} next changes in {source}.",
        "warn",
        "difference",
    ),
    "dropped": Told("Left out", "It stays out until it changes in {source}.", "warn", "block"),
    "problem": Told("Cannot be made", "", "warn", "error"),
    "unmade": Told("Not sent", "", "idle", "remove"),
    "unknown": Told("Not compared", "", "idle", "remove"),
}
AHEAD: dict[str, Told] = {
    "hold": Told("It will wait for a person: {reason}", "{advice}", "warn", "front_hand"),
    "wait": Told(
        "It waits for {parents}",
        "That is on its way. Once it is there, this follows by itself.",
        "info",
        "hourglass_top",
    ),
    "skip": Told("It is left out: {reason}", "{advice}", "idle", "remove"),
    "gone": Told(
        "It is no longer in {source}", "Nothing is sent. What stands in {target} is left as it is.", "idle", "remove"
    ),
    "flying": Told("It is on its way right now", "Look again in a minute.", "info", "sync"),
    "looking": Told(
        "Suture is checking what happened",
        "The answer to its last write was lost. Suture looks whether it arrived before anything is sent again.",
        "warn",
        "help",
    ),
    "sent": Told(
        "It is sent once {target} answers",
        "{reason}. What exactly is written depends on what stands there then.",
        "warn",
        "cloud_off",
    ),
    "unasked": Told("What comes next cannot be told just now", "{reason}. {advice}", "warn", "cloud_off"),
}
MODES = {
    "if_new": "It is written only when the {there} is made.",
    "if_empty": "It is written only where {target} has nothing.",
    "append": "It is in what {target} has already.",
    "always": "",
}
