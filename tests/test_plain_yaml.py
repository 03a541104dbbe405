"""Settings of strangers: as much as somebody could mean, and not more."""

from __future__ import annotations

import pytest

from workbench import plain_yaml
from workbench.plain_yaml import load_plain


def test_plain_values_come_back() -> None:
    text = "a: {b: [1, 2.5, null, true], c: é}\nd: &x [1]\ne: *x\n"
    assert load_plain(text) == {"a": {"b": [1, 2.5, None, True], "c": "é"}, "d": [1], "e": [1]}
    assert load_plain("") is None
    assert str(load_plain("[" * 100 + "]" * 100)) == "[" * 100 + "]" * 100


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "expected the node content"),
        ("a: *nothing", "found undefined alias"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: !!bool maybe", "not what its tag says"),
        ("a: !!int ''", "not what its tag says"),
        ("a: !!timestamp soon", "not what its tag says"),
        ("[" * 3000, "nested too deep"),
        ("a: " + "[" * 101 + "]" * 101, "nested too deep"),
        ("- " * 3000, "nested too deep"),
        ("a: &a [*a]", "over 10000 values"),
        ("{" + ", ".join(f"k{one}: 0" for one in range(9000)) + "}", "over 10000 values"),
    ],
)
def test_what_nobody_means_is_one_line(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        load_plain(text)
    assert "\n" not in str(caught.value)


def test_a_few_lines_of_aliases_do_not_mean_a_billion_values() -> None:
    lines = ["a0: &a0 [x]"]
    for level in range(1, 10):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    with pytest.raises(ValueError, match="over 10000 values"):
        load_plain("\n".join(lines))


def test_a_long_text_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_yaml, "MAX_CHARACTERS", 10)
    assert load_plain("a: 1") == {"a": 1}
    with pytest.raises(ValueError, match="its 12 characters are over 10"):
        load_plain("a: 123456789")
