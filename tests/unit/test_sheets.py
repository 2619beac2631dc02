"""Value maps and rules as CSV: nothing is lost on the way, and each line of a file is judged (1.2.10, B2)."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.admin.rules import Words
from integrations.admin.sheets import FIELDS, VALUES, Reading, Sheets
from integrations.core.cells import write_sheet
from integrations.core.records import OnConflict, Write
from integrations.core.rules import Rule
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import ALL_TRANSFORMS, Config
from integrations.services.config_faults import rule_fault
from integrations.services.configured import tidy

INVOICES, PATIENTS = FLOW_KINDS["invoices-to-orders"], FLOW_KINDS["patients-to-customers"]
STATUS = ("Value map", "Value", "Meaning", "Becomes")
RULES = ("Field", "Comes from", "Steps", "Written", "Who decides")
REFERRER = "custom_fields.referrer"

HOSTILE = st.text(
    st.sampled_from("=+-@\t\r\n;,\"' 'aé€\u200b\ufeff＝🙂") | st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=20,
)  # fmt: skip


def sheets(kind=INVOICES, released=()) -> Sheets:
    return Sheets(Words.of_kind(kind), released)


def read(rows, *, kind=INVOICES, config=Config(), what=VALUES, takes_away=False, released=()) -> Reading:  # noqa: B008
    headings = STATUS if what == VALUES else RULES
    data = write_sheet(headings, rows).encode()
    return sheets(kind, released).read(what, data, config, takes_away=takes_away)


def told(reading: Reading) -> list[tuple[int, str, str]]:
    return [(line.number, line.what, line.verdict) for line in reading.lines]


# Nothing is lost


@settings(max_examples=50)
@given(st.dictionaries(HOSTILE, st.sampled_from([name for name, _ in INVOICES.value_maps[0].actions]), max_size=5))
def test_value_maps_come_back_as_they_were(lines: dict[str, str]):
    config = tidy(INVOICES, Config(value_maps={"status": lines}))
    file = sheets().written(VALUES, config).encode()
    for takes_away, before in ((False, config), (True, config)):
        reading = sheets().read(VALUES, file, before, takes_away=takes_away)
        assert (reading.config, {line.verdict for line in reading.lines}) == (config, {"same"})


def test_five_hundred_hostile_strings_come_back_and_none_opens_as_a_formula():
    signs = ("=", "+", "-", "@", "＝", "＠", "\t", "\r", "'=", "\ufeff=")
    blanks = ("", "x ", " ", "\u200b", '"')
    tails = ("1+1", "SUM(A1:A9)", "cmd|' /C calc'!A0", ";2", ",3", '"q"', "\n=4", "\r\n", "ü€🙂", "")
    lines = dict.fromkeys((f"{blank}{sign}{tail}" for sign in signs for blank in blanks for tail in tails), "hold")
    assert len(lines) == 500
    config = tidy(INVOICES, Config(value_maps={"status": lines}))
    file = sheets().written(VALUES, config)
    for row in csv.reader(io.StringIO(file.removeprefix("\ufeff"), newline="")):
        assert not [cell for cell in row if cell.strip(" \ufeff\u200b\t\r\n")[:1] in set("=+-@＝＋－＠")]
    assert sheets().read(VALUES, file.encode(), config, takes_away=True).config == config


@st.composite
def rules(draw: st.DrawFn) -> Config:
    targets = [one.name for one in PATIENTS.target.fields] + ["metafields.clinic.referrer"]
    sources = [one.name for one in PATIENTS.source.fields] + [REFERRER, *(one.name for one in PATIENTS.derived)]
    steps = st.lists(st.sampled_from(sorted(ALL_TRANSFORMS)), max_size=3).map(tuple)
    drawn = draw(
        st.lists(
            st.builds(
                Rule,
                st.sampled_from(targets),
                st.sampled_from(sources),
                steps,
                st.sampled_from(Write),
                st.sampled_from(OnConflict),
            ),
            max_size=4,
            unique_by=lambda rule: rule.target,
        )
    )
    right = tuple(rule for rule in drawn if rule_fault(PATIENTS, rule, [REFERRER]) is None)
    removed = frozenset(draw(st.sets(st.sampled_from([rule.target for rule in PATIENTS.rules]), max_size=2)))
    return tidy(PATIENTS, Config(tuple(rule for rule in right if rule.target not in removed), removed))


@settings(max_examples=50)
@given(rules(), rules())
def test_rules_come_back_as_they_were_and_bring_another_flow_to_the_same(config: Config, other: Config):
    mine = sheets(PATIENTS, [REFERRER])
    file = mine.written(FIELDS, config).encode()
    assert mine.read(FIELDS, file, config).config == config
    assert mine.read(FIELDS, file, other, takes_away=True).config == config


# Line by line


def test_each_line_is_judged_beside_what_is_in_force():
    before = Config(value_maps={"status": {"60": "cancel", "70": "hold"}})
    reading = read(
        [
            ("Invoice status", "20", "Paid", "Leave out"),
            ("invoice status", "50", "", "mark_paid"),
            ("status", "60", "", ""),
            ("status", "10", "", "leave_unpaid"),
        ],
        config=before,
    )
    assert told(reading) == [
        (2, "Invoice status: Paid (20)", "changed"),
        (3, "Invoice status: 50", "new"),
        (4, "Invoice status: 60", "removed"),
        (5, "Invoice status: Open (10)", "same"),
    ]
    assert (reading.lines[0].now, reading.lines[0].then) == ("Mark as paid", "Leave out")
    assert reading.config.value_maps == {"status": {"20": "ignore", "50": "mark_paid", "70": "hold"}}


def test_what_a_file_leaves_out_goes_only_where_that_was_asked_for():
    before = Config(value_maps={"status": {"60": "cancel", "20": "hold"}})
    row = [("status", "50", "", "cancel")]
    assert read(row, config=before).config.value_maps == {"status": {"60": "cancel", "20": "hold", "50": "cancel"}}
    reading = read(row, config=before, takes_away=True)
    assert reading.config.value_maps == {"status": {"50": "cancel"}}
    assert sorted(told(reading)) == [
        (0, "Invoice status: 60", "removed"),
        (0, "Invoice status: Paid (20)", "changed"),
        (2, "Invoice status: 50", "new"),
    ]


def test_what_a_file_leaves_out_goes_back_to_the_blueprint():
    below = Config(value_maps={"status": {"60": "hold", "70": "ignore"}})
    before = Config(value_maps={"status": {"60": "cancel", "70": "ignore"}})
    data = write_sheet(STATUS, [("status", "50", "", "cancel")]).encode()
    reading = sheets().read(VALUES, data, before, takes_away=True, below=below)
    assert reading.config.value_maps == {"status": {"50": "cancel", "60": "hold", "70": "ignore"}}
    assert [line.what for line in reading.lines if line.verdict == "changed"] == ["Invoice status: 60"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (("Taxes", "20", "", "hold"), "There is no value map “Taxes” in this flow."),
        (("status", "", "", "hold"), "It names no value."),
        (("status", "50", "", "explode"), "“explode” is none of: Leave unpaid, Mark as paid,"),
        (("status", "x" * 256, "", "hold"), "It is too long: 255 characters at most."),
    ],
)
def test_a_map_line_that_is_not_understood_says_why(row: tuple[str, ...], why: str):
    reading = read([row, ("status", "51", "", "hold")])
    assert [line.verdict for line in reading.lines] == ["refused", "new"]
    assert reading.lines[0].why.startswith(why)
    assert reading.config.value_maps == {"status": {"51": "hold"}}


def test_a_line_that_is_there_twice_and_a_formula_are_refused():
    data = "Value map,Value,Becomes\nstatus,50,hold\nstatus,50 ,cancel\nstatus,=HYPERLINK(1),hold\nstatus,-5,hold\n"
    reading = sheets().read(VALUES, data.encode(), Config())
    assert [(line.number, line.why) for line in reading.lines if line.verdict == "refused"] == [
        (3, "Line 2 says it already."),
        (4, "“Value” begins as a formula does. If it is text, write ' before it."),
    ]
    assert reading.config.value_maps == {"status": {"50": "hold", "-5": "hold"}}


def test_rules_are_read_in_words_or_by_their_names():
    reading = read(
        [
            ("First name", "Last name", "UPPER CASE, then lower case", "Only while it is empty there", "Shopify"),
            ("lastName", "first_name", "", "", ""),
            ("Note", "Not synced", "", "", ""),
        ],
        kind=PATIENTS,
        what=FIELDS,
    )
    made = {rule.target: rule for rule in reading.config.rules}
    assert made["firstName"] == Rule(
        "firstName", "last_name", ("upper", "lower"), Write.IF_EMPTY, OnConflict.TARGET_WINS
    )
    assert made["lastName"] == Rule("lastName", "first_name")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (("Shoe size", "First name", "", "", ""), "“Shoe size” is not a field of Shopify."),
        (("", "First name", "", "", ""), "It names no field."),
        (("First name", "Shoe size", "", "", ""), "“Shoe size” is not a field of Cliniko."),
        (("First name", "First name", "Shout", "", ""), "“Shout” is no step that Suture knows."),
        (("First name", "First name", "", "Sometimes", ""), "“Sometimes” is none of: Always,"),
        (("First name", "First name", "", "", "The cat"), "“The cat” cannot decide:"),
        (("First name", REFERRER, "", "", ""), "“custom_fields.referrer” is a custom field that the agency's owner"),
        (("First name", "custom_fields." + "x" * 160, "", "", ""), "It is too long: 160 characters"),
    ],
)
def test_a_rule_that_may_not_be_says_why(row: tuple[str, ...], why: str):
    reading = read([row], kind=PATIENTS, what=FIELDS)
    assert [line.verdict for line in reading.lines] == ["refused"]
    assert reading.lines[0].why.startswith(why)
    assert reading.config == Config()
