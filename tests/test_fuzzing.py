"""Some of the cases of ``python tests/fuzzing.py``; NAS_FUZZ asks for more of each kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fuzzing import KINDS, Found, check_message, fuzz, run_case

from nas.space import SearchSpace

CASES = int(os.environ.get("NAS_FUZZ", "0"))
SHORT = {"space": 300, "architecture": 500, "attributes": 100}

LIMIT_SECONDS = 5.0
"""Of the processor, for one case: a slow machine may take so long for what takes 0.4 s here."""


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_read_is_valid_or_refused_in_one_line(kind: str) -> None:
    number = CASES or SHORT[kind]
    found = fuzz(kind, number, first_seed=0, limit=LIMIT_SECONDS, cli_share=0.01)
    assert found.failures == [], f"python tests/fuzzing.py --kind {kind} --only SEED shows one"
    assert found.cases == number == found.valid + sum(found.refused.values())
    assert found.valid > number / 100, "a mutation often leaves a file as good as it was"
    assert found.refused


class Reading:
    """A loader with a fault, which the fuzzer must find."""

    def __init__(self, load: object) -> None:
        self._load = load

    def case(self, rng: object) -> object:
        return self._load


def test_the_fuzzer_finds_faults(tmp_path: Path) -> None:
    def raises() -> None:
        raise KeyError("format")

    def says_too_much() -> None:
        raise ValueError("x" * 5_000)

    def says_two_lines() -> None:
        raise ValueError("one\ntwo")

    def takes_long() -> None:
        for number in range(10**6):
            str(number)

    def is_raw() -> None:
        b"\xff".decode()

    for load in (raises, says_too_much, says_two_lines, takes_long, is_raw):
        found = Found("faulty")
        run_case(Reading(load), 7, found, limit=0.01, cli_share=0.0)
        assert [failure["seed"] for failure in found.failures] == [7], load
    found = Found("good")
    run_case(Reading(lambda: SearchSpace.load("tiny")), 7, found, limit=60, cli_share=0.0)
    assert (found.valid, found.failures) == (1, [])


def test_what_does_not_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzzing.WATCHDOG_SECONDS", 0.05)

    def never_ends() -> None:
        while True:
            pass

    found = Found("faulty")
    run_case(Reading(never_ends), 7, found, limit=60, cli_share=0.0)
    assert found.failures == [{"seed": 7, "problem": "it takes over 0.05 processor seconds"}]


def test_a_clear_message_is_one_line() -> None:
    check_message(ValueError("trial 3: its 'curve' is damaged: [1] is no point"))
