"""Regular expressions as tables, against Python's own; UTF-8 ranges against every code point."""

import re

import pytest
from hypothesis import given, settings, strategies as st

from edgec.automaton import MOST_STATES, automaton, utf8_ranges
from edgec.errors import ModelError, Unsupported

PATTERNS = (r"www\.[\w.-]+\.\bcom\b", r"(\W|^)[\w.\-]{0,25}@(yahoo|gmail)\.com(\W|$)", r"a*?[^a-z\d]{2,}|b+", "", "(a|b)*abb", "é+[à-ü]?",
            "(?i)abC", r"\ba\B.", "[^a]*", "a{2,3}?", r"\d+\s\D", "(?s)a.b", r"\A[a-c]+\Z", "(?:中|文)+w?")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PATTERNS), st.text("abcC@.wgmailoy é-ü中文\n1", max_size=12))
def test_a_text_matches_where_python_says_so(pattern, text):
    assert automaton(pattern).matches(text) == bool(re.fullmatch(pattern, text, re.ASCII))


@given(st.sampled_from(PATTERNS), st.data())
def test_texts_made_of_a_pattern_match(pattern, data):
    wanted = re.compile(pattern, re.ASCII)
    text = data.draw(st.from_regex(wanted, fullmatch=True).filter(lambda t: "\0" not in t and wanted.fullmatch(t)))
    ends = text[:-1] + "." if text.endswith("\n") else text  # Python's $ also stands before a last line feed, RE2's does not
    assert automaton(pattern).matches(ends) == bool(wanted.fullmatch(ends))


@given(st.integers(1, 0x10FFFF), st.integers(1, 0x10FFFF), st.integers(1, 0x10FFFF))
def test_ranges_of_bytes_spell_the_code_points_between(a, b, c):
    low, high = sorted((a, b))
    for code in (c, low - 1, low, high, min(high + 1, 0x10FFFF)):
        coded = chr(code).encode("utf-8", "surrogatepass")
        spelt = sum(len(s) == len(coded) and all(x <= byte <= y for byte, (x, y) in zip(coded, s)) for s in utf8_ranges(low, high))
        assert spelt == (low <= code <= high)


def test_what_no_automaton_tells_is_refused():
    for pattern in (r"(a)\1", "(?=a)b", "(?<!a)b", "(?m)^a"):
        with pytest.raises(Unsupported, match=re.escape(repr(pattern))):
            automaton(pattern)
    with pytest.raises(Unsupported, match=f"more than {MOST_STATES} states"):
        automaton("(a|b)*a(a|b){15}")
    with pytest.raises(Unsupported, match="too large"):
        automaton("((a{99}){99}){99}")
    for pattern in ("(", "[", "a**", "a{3,2}"):
        with pytest.raises(ModelError, match="malformed"):
            automaton(pattern)
