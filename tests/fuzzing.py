"""Mutated files and stored attributes: each gives a valid object or one clear line, soon.

``python tests/fuzzing.py --number 10000 --seed 0 [--kind space] [--out summary.json]`` runs all of
one kind, or of every kind; :mod:`test_fuzzing` runs some of each. A case is its kind and its seed:
``--only SEED`` runs one again and shows what came of it.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

LONGEST_MESSAGE = 1_000
MEMORY_BYTES = 6 << 30
WATCHDOG_SECONDS = 20.0
"""Processor seconds after which a case is cut off; over ``limit`` it is reported anyway."""


class TooLongError(BaseException):
    """A case that does not end; nothing that catches exceptions may keep it."""


@dataclass
class Found:
    """What the cases of one kind came to."""

    kind: str
    cases: int = 0
    valid: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    longest_seconds: float = 0.0
    longest_seed: int = 0

    def to_data(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "cases": self.cases,
            "valid": self.valid,
            "refused": dict(sorted(self.refused.items())),
            "failures": len(self.failures),
            "first_failures": self.failures[:20],
            "longest_processor_seconds": round(self.longest_seconds, 3),
            "longest_seed": self.longest_seed,
        }


# ------------------------------------------------------------------------------ how to mutate


def nested(depth: int, as_list: bool) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if as_list else {"a": value}
    return value


def odd_value(rng: random.Random) -> Any:
    """A value of another type or size than anybody expects."""
    values: list[Callable[[], Any]] = [
        lambda: None,
        lambda: True,
        lambda: False,
        lambda: rng.choice([0, -1, 1, 2, 3, 7, 255, 10**6, -(10**9)]),
        lambda: rng.choice(
            [2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 10**400, -(10**400)]
        ),
        lambda: rng.choice([0.5, -0.5, 1e-320, 1e308, -1e308, 1.0, 3.0]),
        lambda: rng.choice([math.nan, math.inf, -math.inf]),
        lambda: rng.choice(["", " ", "x", "conv", "error", "1", "-1", "nan", "null", "1e999"]),
        lambda: rng.choice(
            ["\x00", "\ud800", "\u202e", "a\nb\rc", "\u2028", "é" * 9, "\U0001f600"]
        ),
        lambda: "x" * rng.choice([300, 100_000]),
        lambda: [],
        lambda: {},
        lambda: [[]],
        lambda: {"": {}},
        lambda: [rng.randint(-5, 5) for _ in range(rng.choice([1, 3, 50, 5_000]))],
        lambda: {str(index): index for index in range(rng.choice([1, 5, 500]))},
        lambda: nested(rng.choice([5, 100, 600]), rng.random() < 0.5),
        lambda: {"low": rng.randint(-9, 9), "high": rng.choice([3, 10**9, 10**18]), "step": 1},
    ]
    return rng.choice(values)()


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything within nested data."""
    items: Any = ()
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list):
        items = enumerate(data)
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def owner_of(data: Any, path: Sequence[Any]) -> Any:
    for key in path[:-1]:
        data = data[key]
    return data


def mutate_data(data: Any, rng: random.Random) -> Any:
    """Nested data with one to three things in it replaced, removed, added or exchanged."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        known = list(places(data))
        if not known or rng.random() < 0.01:
            return odd_value(rng)
        path = rng.choice(known)
        owner, key = owner_of(data, path), path[-1]
        how = rng.randrange(7)
        if how <= 2:
            owner[key] = odd_value(rng)
        elif how == 3:
            del owner[key]
        elif how == 4:
            other = rng.choice(known)
            owner[key] = json.loads(json.dumps(owner_of(data, other)[other[-1]]))
        elif isinstance(owner, dict):
            new = rng.choice(
                ["unknown", "", "format", f"{key}s", "é", "__class__", str(key).upper()]
            )
            owner[new] = owner[key] if how == 5 else odd_value(rng)
        else:
            owner.insert(key, odd_value(rng) if how == 5 else owner[key])
    return data


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes flipped, cut, put in or doubled."""
    found = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(found) + 1)
        how = rng.randrange(6)
        if how == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del found[at:]
        elif how == 2:
            del found[at : at + rng.choice([1, 2, 40])]
        elif how == 3:
            found[at:at] = found[rng.randrange(len(found) + 1) :][: rng.choice([1, 9, 300])]
        elif how == 4:
            found[at:at] = rng.choice(PIECES)
        else:
            found[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 3])))
    return bytes(found)


PIECES = (
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\n", b"\t", b"{", b"}", b"[", b"]",
    b",", b":", b'"', b"NaN", b"-Infinity", b"1e999", b"0" * 50, b"9" * 5_000, b"[" * 50_000,
    b"\\ud800", b'{"a":' * 20_000, b"&a ", b"*a", b"!!python/object/apply:os.getcwd []", b"<<: *a",
    b"? ", b"--- ", b"%YAML 9.9\n", b"1:30:00", b"0x1F", b"1_000", b"2020-13-45", b"#", b"'",
    b"!!binary ", b"!!set {a}",
)  # fmt: skip

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
)
"""A billion laughs: half a kilobyte that stands for 9^9 texts."""

YAML_TAILS = (
    BOMB,
    BOMB + "\nstages: *a8",
    BOMB + "\nbudgets: {macs: *a8}",
    "name: one\nname: two",
    "? [a, b]\n: 1",
    "&a [*a]",
    "stages: &s {count: *s}",
    "<<: {<<: {<<: {format: 1}}}",
    "<<: [{format: 1}, {format: 2}]",
    "description: " + "y" * 200_000,
    "more: !!float '.nan'",
    "1: 2\ntrue: 3\nnull: 4\n1.5: 5",
)


def mutated_text(text: str, rng: random.Random, *, is_yaml: bool = False) -> bytes:
    """A file after an accident, or after somebody's edits."""
    how = rng.random()
    if how < 0.35:
        return mutate_bytes(text.encode(), rng)
    data = yaml.safe_load(text) if is_yaml else json.loads(text)
    data = mutate_data(data, rng)
    if not is_yaml:
        try:
            found = json.dumps(data)
        except RecursionError:
            return mutate_bytes(text.encode(), rng)
        if how > 0.97 and found.startswith("{") and len(found) > 2:
            return (found[:-1] + "," + found[1:]).encode()  # every key twice
        return found.encode()
    if how > 0.9:
        return f"{text}\n{rng.choice(YAML_TAILS)}\n".encode()
    try:
        return yaml.safe_dump(data, allow_unicode=rng.random() < 0.5).encode("utf-8", "replace")
    except (yaml.YAMLError, RecursionError):
        return json.dumps(data).encode()


# ------------------------------------------------------------------------------ what to load


class Spaces:
    """Files of search spaces, from shipped ones."""

    def __init__(self, place: Path) -> None:
        from nas.space.search_space import SHIPPED

        self.texts = [path.read_text() for path in sorted(SHIPPED.glob("*.yaml"))]
        self.path = place / "space.yaml"

    def case(self, rng: random.Random) -> Callable[[], None]:
        self.path.write_bytes(mutated_text(rng.choice(self.texts), rng, is_yaml=True))
        return self.load

    def load(self) -> None:
        from nas.space import SearchSpace

        space = SearchSpace.load(self.path)
        network = space.random(np.random.default_rng(0))
        assert space.decode(space.encode(network)) == network
        assert SearchSpace.from_json(space.to_json()).fingerprint == space.fingerprint
        assert space.size >= 1

    def words(self) -> list[str]:
        return ["spaces", str(self.path)]


class Architectures:
    """Files of architectures, from presets."""

    def __init__(self, place: Path) -> None:
        from nas.presets import PRESETS, load_preset

        self.texts = [load_preset(name).to_json() for name in PRESETS]
        self.path = place / "architecture.json"

    def case(self, rng: random.Random) -> Callable[[], None]:
        self.path.write_bytes(mutated_text(rng.choice(self.texts), rng))
        return self.load

    def load(self) -> None:
        from nas.architecture import Architecture, Shape
        from nas.cli.inputs import read_architecture
        from nas.cost import count_cost

        network = read_architecture(str(self.path)).architecture
        assert Architecture.from_json(network.to_json()) == network
        assert str(network)
        count_cost(network, Shape(3, 96, 96), 10)

    def words(self) -> list[str]:
        return ["cost", str(self.path), "--image", "96"]


class Attributes:
    """What a study's database holds of a run and its confirmation; one text of it is changed."""

    def __init__(self, place: Path) -> None:
        from fuzzed_run import make_fuzzed_run

        self.source = make_fuzzed_run(place / "source")
        self.path = place / "run"
        self.path.mkdir()
        with sqlite3.connect(self.source / "study.db") as database:
            self.rows = {table: list(database.execute(query)) for table, query in ROWS.items()}
        database.close()

    def case(self, rng: random.Random) -> Callable[[], None]:
        shutil.copyfile(self.source / "study.db", self.path / "study.db")
        # Each kind of attribute as often as another, however many rows have it.
        table = rng.choice(sorted(self.rows))
        row, text, study = rng.choice(self.rows[table])
        changed: Any = mutated_text(text, rng).decode("utf-8", "replace")
        if rng.random() < 0.02:
            changed = rng.choice([None, 5, 2.5, b"\x00\xff"])
        column = TABLES[table]
        with sqlite3.connect(self.path / "study.db", isolation_level=None) as database:
            database.execute("PRAGMA synchronous = OFF")
            if changed is None:
                database.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
            else:
                database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (changed, row))
        database.close()
        # A trial's text is read by the tables; what is made of them is seen now and then.
        is_whole = table == "study_user_attributes" or rng.random() < 0.25
        return lambda: self.load(is_run=study == 1 or is_whole, is_whole=is_whole)

    def load(self, *, is_run: bool, is_whole: bool) -> None:
        from nas.cli.show import run_data
        from nas.latency import LatencyTable
        from nas.records import open_run
        from nas.records.confirmation import open_confirmation
        from nas.search.ledger import stored_trials
        from nas.space import SearchSpace
        from nas.task import Task

        run = open_run(self.path, "run")
        of_run: list[Callable[[], Any]] = [
            lambda: (run.trials, run.curves, run.choices, run.values, run.sampler_states()),
            lambda: (run.rejections, run.ended, run.elapsed_seconds, run.given_up_seconds),
            lambda: (run.state, run.stops, run.lost, run.version),
            lambda: list(stored_trials(run)),
        ]
        of_whole: list[Callable[[], Any]] = [
            lambda: run_data(run),
            lambda: (SearchSpace.from_json(run.settings.space), Task.from_json(run.settings.task)),
            lambda: LatencyTable.from_data(run.latency or {}, "run 'run'") if run.latency else None,
        ]
        of_confirmation = [lambda: self._confirmation(open_confirmation(run))]
        parts = [
            *(of_run if is_run else []),
            *(of_whole if is_whole else []),
            *(of_confirmation if is_whole or not is_run else []),
        ]
        refusals = [error for part in parts if (error := refusal(part)) is not None]
        if refusals:
            raise refusals[0]

    def _confirmation(self, found: Any) -> None:
        if found is not None:
            _ = found.finalists, found.trainings, found.test, found.test_images, found.is_done

    def words(self) -> list[str]:
        return ["show", str(self.path)]


TABLES = {
    "study_user_attributes": "value_json",
    "trial_user_attributes": "value_json",
    "trial_system_attributes": "value_json",
    "trial_params": "distribution_json",
}
"""Where texts are stored that are read as JSON."""

ROWS = {
    table: f"SELECT a.rowid, {column}, a.study_id FROM {table} a"
    if table.startswith("study")
    else f"SELECT a.rowid, {column}, t.study_id FROM {table} a JOIN trials t USING (trial_id)"
    for table, column in TABLES.items()
}
"""Each text with the study that it is of."""


def refusal(part: Callable[[], Any]) -> Exception | None:
    """The clear error of one part, if it gives one; all others go through."""
    try:
        part()
    except (ValueError, OSError) as error:
        check_message(error)
        return error
    return None


KINDS: dict[str, Callable[[Path], Any]] = {
    "space": Spaces,
    "architecture": Architectures,
    "attributes": Attributes,
}


# ------------------------------------------------------------------------------ how to judge


class UnclearError(Exception):
    """A refusal that is not one line for people."""


def check_message(error: Exception) -> None:
    if isinstance(error, UnicodeError | json.JSONDecodeError):
        raise UnclearError(f"a raw {type(error).__name__}: {error}") from error
    message = str(error)
    if not message or len(message) > LONGEST_MESSAGE or len(message.splitlines()) > 1:
        shown = f"{message[:200]!r}..." if len(message) > 200 else repr(message)
        raise UnclearError(f"{len(message)} letters: {shown}") from error


@contextmanager
def watched() -> Iterator[None]:
    """Cut off what takes :data:`WATCHDOG_SECONDS` of the processor, wherever it is in Python."""

    def cut(number: int, frame: Any) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGPROF, cut)
    signal.setitimer(signal.ITIMER_PROF, WATCHDOG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run_case(loader: Any, seed: int, found: Found, *, limit: float, cli_share: float) -> None:
    """One case: the loader itself, and now and then the command line over the same file."""
    rng = random.Random(seed)
    load = loader.case(rng)
    found.cases += 1
    start = time.process_time()
    problem = ""
    try:
        with watched():
            load()
        found.valid += 1
    except (ValueError, OSError) as error:
        try:
            check_message(error)
            found.refused[type(error).__name__] += 1
        except UnclearError as unclear:
            problem = str(unclear)
    except TooLongError:
        problem = f"it takes over {WATCHDOG_SECONDS:g} processor seconds"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        last = traceback.extract_tb(error.__traceback__)[-1]
        problem = f"{type(error).__name__}: {str(error)[:200]} ({last.filename}:{last.lineno})"
        where = [
            f"{frame.filename.removeprefix(str(ROOT))}:{frame.lineno}"
            for frame in traceback.extract_tb(error.__traceback__)
            if str(ROOT / "nas") in frame.filename
        ]
        problem += f" from {where[-1] if where else '?'}"
    seconds = time.process_time() - start
    if seconds > found.longest_seconds:
        found.longest_seconds, found.longest_seed = seconds, seed
    if not problem and seconds > limit:
        problem = f"{seconds:.2f} processor seconds, and {limit:g} are allowed"
    if not problem and rng.random() < cli_share:
        problem = command_problem(loader.words())
    if problem:
        found.failures.append({"seed": seed, "problem": problem})


def command_problem(words: list[str]) -> str:
    """What is wrong with how the command line takes a file; empty where nothing is."""
    from command_line import nas

    result = nas(*words)
    lines = result.err.splitlines()
    if result.code == 0:
        return ""
    if result.code != 2 or len(lines) != 1 or not lines[0].startswith("error: "):
        return f"nas {' '.join(words[:1])} ends with {result.code}: {result.err[:300]!r}"
    return ""


def fuzz(
    kind: str, number: int, first_seed: int, *, limit: float = 1.0, cli_share: float = 0.02
) -> Found:
    """So many cases of one kind, with the seeds from ``first_seed`` on."""
    found = Found(kind)
    with tempfile.TemporaryDirectory() as place:
        loader = KINDS[kind](Path(place))
        # What is imported and compiled at the first use is not the first case's time.
        warm = Found(kind)
        run_case(loader, first_seed, warm, limit=math.inf, cli_share=0.0)
        start = time.monotonic()
        for seed in range(first_seed, first_seed + number):
            run_case(loader, seed, found, limit=limit, cli_share=cli_share)
            if sys.stderr.isatty() and seed % 100 == 0:
                done = seed - first_seed + 1
                left = (time.monotonic() - start) / done * (number - done)
                print(
                    f"\r{kind}: {done:,} of {number:,}, {left:.0f} s left ", end="", file=sys.stderr
                )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Mutated files and attributes through the loaders."
    )
    parser.add_argument("--kind", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--number", type=int, default=10_000, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    parser.add_argument("--only", type=int, help="one case's seed, to be shown whole")
    parser.add_argument("--limit", type=float, default=1.0, help="processor seconds a case")
    parser.add_argument("--out", type=Path, help="a JSON file for the summary")
    words = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    kinds = list(KINDS) if words.kind == "all" else [words.kind]
    if words.only is not None:
        with tempfile.TemporaryDirectory() as place:
            loader = KINDS[kinds[0]](Path(place))
            loader.case(random.Random(words.only))()
        return 0
    start = time.monotonic()
    found = [fuzz(kind, words.number, words.seed, limit=words.limit) for kind in kinds]
    summary = {
        "command": "python tests/fuzzing.py " + " ".join(sys.argv[1:]),
        "python": platform.python_version(),
        "seconds": round(time.monotonic() - start, 1),
        "kinds": [item.to_data() for item in found],
    }
    text = json.dumps(summary, indent=1)
    print(text)
    if words.out is not None:
        words.out.parent.mkdir(parents=True, exist_ok=True)
        words.out.write_text(text + "\n")
    return 1 if any(item.failures for item in found) else 0


if __name__ == "__main__":
    sys.exit(main())
