"""Sizes, times and near names: what is read, what is refused, what is shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.quantities import (
    format_count,
    format_milliseconds,
    format_number_of,
    format_seconds,
    nearest,
    parse_milliseconds,
    parse_size,
    parse_time,
    unknown_name,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("300M", 300_000_000),
        ("1.5G", 1_500_000_000),
        ("2k", 2_000),
        (" 7 K ", 7_000),
        ("12", 12),
        ("1_000", 1_000),
        ("1,582,671,872", 1_582_671_872),
        ("3e8", 300_000_000),
        (5e6, 5_000_000),
        (300_000_000, 300_000_000),
        ("2T", 2 * 10**12),
    ],
)
def test_parse_size(text: str | float, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "M", "-3", "-3M", "0", "0.2", "3X", "1 2", "1,5M", "nan", "inf", "1e999", True, None, []],
)
def test_parse_size_refuses(text: object) -> None:
    with pytest.raises(ValueError, match=r"--max-macs must be .*not") as caught:
        parse_size(text, "--max-macs")  # type: ignore[arg-type]
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("10m", 600),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        ("90", 90),
        (12, 12),
        (0.5, 0.5),
        ("2d", 172_800),
    ],
)
def test_parse_time(text: str | float, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5m", "1h30", "10 minutes", "m", "nan", "1e999s"])
def test_parse_time_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"--time must be .*not"):
        parse_time(text, "--time")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999, "999"),
        (1_000, "1K"),
        (4_200, "4.2K"),
        (999_600, "1M"),
        (300_000_000, "300M"),
        (1_582_671_872, "1.58G"),
        (7_005_832, "7.01M"),
        (-4_200, "-4.2K"),
        (math.nan, "-"),
    ],
)
def test_format_count(value: float, text: str) -> None:
    assert format_count(value) == text


@given(st.integers(1, 10**15))
def test_format_count_is_read_back_to_three_digits(value: int) -> None:
    assert parse_size(format_count(value)) == pytest.approx(value, rel=0.0051)
    assert len(format_count(value).strip("KMGT").replace(".", "")) <= 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (0.84, "0.8s"),
        (9.96, "10s"),
        (42, "42s"),
        (59.7, "1m 00s"),
        (185, "3m 05s"),
        (7_800, "2h 10m"),
        (3_599.8, "1h 00m"),
        (86_399, "1d 0h"),
        (273_600, "3d 4h"),
        (-3, "-3.0s"),
        (math.inf, "-"),
    ],
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_the_nearest_name() -> None:
    names = ["googlenet", "googlenet_small", "tiny", "inception_v3"]
    assert nearest("googlnet", names) == "googlenet"
    assert nearest("GoogleNet-small", names) == "googlenet_small"
    assert nearest("Tiny", names) == "tiny"
    assert nearest("zzz", names) is None


def test_the_message_for_an_unknown_name() -> None:
    assert unknown_name("preset", "googlnet", ["tiny", "googlenet"]) == (
        "unknown preset 'googlnet'; did you mean 'googlenet'? Known: googlenet, tiny"
    )
    assert unknown_name("preset", 3, ["tiny"]) == "unknown preset 3. Known: tiny"


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("5", 5.0), ("5ms", 5.0), (" 2.5 MS ", 2.5), ("800us", 0.8), ("0.02s", 20.0), (3, 3.0)],
)
def test_milliseconds_are_read(text: str | float, milliseconds: float) -> None:
    assert parse_milliseconds(text) == pytest.approx(milliseconds)


@pytest.mark.parametrize("text", ["", "fast", "5m", "1,5ms", "-1ms", "0ms", True, None, "nanms"])
def test_what_is_no_latency_is_refused_with_its_name(text: object) -> None:
    with pytest.raises(ValueError, match=r"^--max-latency must be .*, not "):
        parse_milliseconds(text, "--max-latency")  # type: ignore[arg-type]


def test_milliseconds_are_shown_with_three_digits() -> None:
    values = [0.09541, 3.214, 48.37, 999.4, 1240.0, float("nan")]
    shown = ["0.0954 ms", "3.21 ms", "48.4 ms", "999 ms", "1,240 ms", "-"]
    assert [format_milliseconds(value) for value in values] == shown


def test_format_number_of() -> None:
    found = [format_number_of(number, "seed") for number in (0, 1, 2, 2000)]
    assert found == ["0 seeds", "1 seed", "2 seeds", "2,000 seeds"]
