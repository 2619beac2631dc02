"""Kind < blueprint < the clinic's own lines, place by place (B2)."""

from hypothesis import given
from hypothesis import strategies as st

from integrations.core.rules import Rule
from integrations.flows.kind import Config
from integrations.flows.layers import differing, flat, laid, rebased, whole

NAMES = st.sampled_from(["a", "b", "c.d"])
WORDS = st.sampled_from(["x", "y"])


@st.composite
def configs(draw: st.DrawFn) -> Config:
    rules = tuple(Rule(target, draw(WORDS)) for target in sorted(draw(st.sets(NAMES))))
    removed = draw(st.sets(NAMES)) - {rule.target for rule in rules}
    maps = draw(st.dictionaries(st.just("status"), st.dictionaries(NAMES, WORDS, min_size=1)))
    return Config(rules, frozenset(removed), draw(st.dictionaries(NAMES, WORDS)), maps)


@given(configs())
def test_what_is_laid_flat_is_whole_again(config: Config):
    assert flat(whole(flat(config))) == flat(config)


@given(configs(), configs())
def test_two_that_differ_nowhere_are_equal(one: Config, other: Config):
    assert (differing(one, other) == frozenset()) == (flat(one) == flat(other))
    assert flat(laid(one, other, differing(one, other))) == flat(other)


@given(configs(), configs(), st.sets(st.sampled_from(["rules.a", "settings.b", "values.status.c.d"])))
def test_ones_own_places_win_and_no_other_does(below: Config, above: Config, own: set[str]):
    made = flat(laid(below, above, own))
    for place in flat(below).keys() | flat(above).keys():
        assert made.get(place, "nothing") == flat(above if place in own else below).get(place, "nothing")


@given(configs(), configs(), configs())
def test_a_change_is_laid_upon_what_others_changed(base: Config, ours: Config, theirs: Config):
    made = rebased(base, ours, theirs)
    for place in differing(base, ours):
        assert flat(made).get(place, "nothing") == flat(ours).get(place, "nothing")
    for place in differing(theirs, made):
        assert place in differing(base, ours)
    assert flat(rebased(base, base, theirs)) == flat(theirs)
