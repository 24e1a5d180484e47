"""The file of a space: what is refused, in one line that names file, path, rule and value."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.space import Options, Range, SearchSpace, space_names

DOCS = Path(__file__).parent.parent / "docs" / "spaces.md"

GOOD = """
format: 1
name: good
stem:
  - {op: conv, kernel: 3, channels: [8, 16]}
  - {op: pool, kernel: 3, stride: 2}
stages:
  count: [1, 2]
  cells: {low: 1, high: 2}
  overrides:
    1: {cells: 1, branches: {3x3: {channels: 24}}}
cell:
  residual: {options: [false, true], scope: network}
  branches:
    1x1: {forms: 1x1, channels: 8}
    3x3:
      present: [false, true]
      forms: 3x3
      reduce: [none, 4]
      channels: {low: 8, high: 16, step: 4}
    pool: {present: [false, true], pool: {options: [max, avg], scope: network}, channels: none}
reductions:
  kind: [max, conv, cell]
  conv: {channels: 16}
  cell: {branches: {3x3: {forms: 3x3, channels: 8}}}
auxiliary: {present: [false, true], heads: [{stage: 0, cell: 1}], pool: {side: 2}}
head: {hidden: [[none, 32]], dropout: [0, 0.2]}
norm: {kind: [batch, none]}
budgets: {macs: 3M}
"""


def changed(path: str, value: Any) -> str:
    """The good file with one value set (or, with ``...``, one key left out)."""
    data = yaml.safe_load(GOOD)
    *steps, last = [int(step) if step.isdecimal() else step for step in path.split("/")]
    part = data
    for step in steps:
        part = part[step] if isinstance(part, list) else part.setdefault(step, {})
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return yaml.safe_dump(data, sort_keys=False)


def refusal(text: str) -> str:
    with pytest.raises(ValueError, match=r"^mine\.yaml") as caught:
        SearchSpace.from_yaml(text, "mine.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_the_good_file_is_good() -> None:
    space = SearchSpace.from_yaml(GOOD)
    assert space.name == "good"
    assert space.budgets == {"macs": 3_000_000}
    assert space.parameters["stages.0.0.3x3.channels"] == Range(8, 16, 4)
    assert space.parameters["stages.0.0.3x3.reduce"] == Options((None, 4))
    assert space.parameters["head.dropout"] == Options((0.0, 0.2))
    assert list(space.parameters)[:2] == ["stem.0.channels", "stages.count"]
    # Scopes show in names; an override that is fixed is no choice.
    assert {"residual", "pool.pool", "stages.1.3x3.present"} <= space.parameters.keys()
    assert "stages.1.0.3x3.channels" not in space.parameters
    assert "stages.1.cells" not in space.parameters


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        # Unknown keys, at each depth, with the nearest.
        ("stagse", {}, r"unknown key 'stagse'; did you mean 'stages'\?"),
        (
            "cell/branches/3x3/chanels",
            8,
            r"cell\.branches\.3x3: unknown key 'chanels'; did you mean",
        ),
        (
            "cell/branches/3x3/channels",
            {"lo": 1, "high": 2},
            r"branches\.3x3\.channels: it must be a",
        ),
        ("stages/overrides/1/cels", 2, r"stages\.overrides\.1: unknown key 'cels'"),
        ("reductions/max", {"stride": 3}, r"reductions\.max: unknown key 'stride'"),
        ("auxiliary/heads/0/depth", 1, r"auxiliary\.heads\.0: unknown key 'depth'"),
        ("budgets/mac", "3M", r"budgets: unknown key 'mac'; did you mean 'macs'"),
        # Wrong types.
        ("stem/0/channels", "wide", r"stem\.0\.channels: a width must be an integer .* not 'wide'"),
        ("stem/0/channels", True, r"stem\.0\.channels: .*not True"),
        ("stem/0/channels", 8.0, r"stem\.0\.channels: .*not 8\.0"),
        ("stem/0/channels", -8, r"from 1 to 65,536, not -8"),
        ("stem/0/channels", 10**9, r"not 1000000000"),
        ("stem/0/channels", None, r"stem\.0\.channels: .*not None"),
        ("stem/0/channels", [8, [9]], r"not \[9\]"),
        ("stem/0/op", "pol", r"stem\.0: op must be conv or pool"),
        ("stem/0/op", ..., r"stem\.0: op must be conv or pool"),
        ("stem/0/kernel", 4, r"stem\.0\.kernel: a kernel must be odd.*not 4"),
        ("stem/0/kernel", "3x", r"a kernel must be odd.*not '3x'"),
        ("stem/1/stride", ..., r"stem\.1\.stride: it must be given"),
        ("stem/1/padding", 2, r"stem\.1\.padding: it must be at most half of the kernel \(3\)"),
        ("stem", "conv", r"stem: it must be a list, not 'conv'"),
        ("cell", [1], r"cell: it must have keys \(residual, branches\), not \[1\]"),
        ("cell/residual", "yes", r"cell\.residual: it must be true or false, not 'yes'"),
        ("cell/residual", [0, 1], r"cell\.residual: it must be true or false, not 0"),
        ("cell/branches/3x3", None, r"cell\.branches\.3x3: it must have keys"),
        ("cell/branches/3x3/forms", "3x3-3x3", r"a form must be .*not '3x3-3x3'"),
        ("cell/branches/3x3/forms", "2x2", r"a form must be .*not '2x2'"),
        ("cell/branches/3x3/forms", "+".join(["3x3"] * 9), r"a form must be up to 8"),
        ("cell/branches/pool/pool", "mx", r"max or avg \(did you mean max\?\), or none, not 'mx'"),
        ("head/dropout", 1, r"head\.dropout: it must be at least 0 and under 1, not 1"),
        ("head/dropout", {"low": 0, "high": 1}, r"head\.dropout: "),
        ("norm/eps", 2, r"norm\.eps: .*not 2"),
        ("budgets/macs", "3X", r"budgets: macs must be a number .*not '3X'"),
        ("budgets", [3], r"budgets: it must have keys"),
        ("name", "../../x", r"name: it must be up to 64 letters.*not '\.\./\.\./x'"),
        ("name", 3, r"name: it must be text, not 3"),
        ("stem/0", 3, r"stem\.0: it must have keys, not 3"),
        ("stages/overrides/x", {"cells": 1}, r"overrides\.x: it must be an integer, not 'x'"),
        ("auxiliary/present", "maybe", r"auxiliary\.present: it must be true or false"),
        ("auxiliary/heads", [], r"auxiliary\.heads: the list must not be empty"),
        ("auxiliary/pool", {"side": 2, "kernel": 3}, r"auxiliary\.pool: it must give either side"),
        # Lists and ranges.
        ("stem/0/channels", [], r"stem\.0\.channels: the list must not be empty"),
        ("stem/0/channels", {"options": []}, r"the list must not be empty"),
        ("stem/0/channels", {"options": 3}, r"options must be a list, not 3"),
        ("stem/0/channels", [8, 16, 8], r"must not hold a value twice, as it does 8"),
        ("stem/0/kernel", [3, "3x3"], r"must not hold a value twice, as it does 3x3"),
        ("head/dropout", [0, 0.0], r"must not hold a value twice, as it does 0"),
        ("cell/branches/3x3/reduce", ["none", None], r"twice, as it does none"),
        (
            "cell/branches/3x3/channels",
            {"low": 9, "high": 8},
            r"low must be at most high, not 9 over 8",
        ),
        (
            "stages/cells",
            {"low": 1, "high": 4, "step": 2},
            r"step must divide high - low \(3\), not 2",
        ),
        ("stages/cells", {"low": 1, "high": 4, "step": 0}, r"step must be at least 1, not 0"),
        ("stages/cells", {"low": 0, "high": 4}, r"a number of cells must be an integer from 1"),
        ("stages/cells", {"low": 1, "high": "4"}, r"high must be an integer, not '4'"),
        (
            "stages/cells",
            {"low": 1},
            r"stages\.cells: it must be a value, a list, \{low, high, step\}",
        ),
        ("stages/count", 0, r"stages\.count: a number of stages must be an integer from 1 to 16"),
        ("stages/cells", 300, r"stages\.cells: a number of cells"),
        # Scopes.
        (
            "cell/residual",
            {"options": [False, True], "scope": "net"},
            r"scope must be network or st",
        ),
        ("stages/cells", {"options": [1, 2], "scope": "cell"}, r"scope must be network or stage"),
        ("stem/0/channels", {"options": [1], "scope": "network"}, r"scope has no meaning here"),
        (
            "reductions/cell/branches/3x3/channels",
            {"options": [1, 2], "scope": "network"},
            r"reductions\.cell\.branches\.3x3\.channels: scope has no meaning here",
        ),
        # Overrides.
        ("stages/overrides/2", {"cells": 1}, r"stages\.overrides\.2: there are stages 0 to 1"),
        ("stages/overrides/-1", {"cells": 1}, r"stages\.overrides\.-1: there are stages 0 to 1"),
        (
            "reductions/overrides",
            {1: {"kind": "max"}},
            r"overrides\.1: there are reductions 0 to 0",
        ),
        (
            "stages/overrides/1/residual",
            True,
            r"1\.residual: a choice of scope network cannot be ov",
        ),
        (
            "stages/overrides/1/branches/pool",
            {"pool": "max"},
            r"pool\.pool: a choice of scope network",
        ),
        (
            "stages/overrides/1/branches/3x3/channels",
            {"options": [1, 2], "scope": "network"},
            r"branches\.3x3\.channels: a choice in an override cannot be of scope network",
        ),
        ("stages/overrides/1/branches/1x1", {"present": False}, r"one branch at least must always"),
        # What parts mean together.
        ("cell/branches/1x1/present", [False, True], r"one branch at least must always be present"),
        ("cell/branches", {}, r"one branch at least must always be present"),
        ("cell/branches/1x1/channels", "none", r"1x1\.channels: none needs a pooling"),
        ("cell/branches/1x1/channels", ..., r"cell\.branches\.1x1\.channels: it must be given"),
        ("cell/branches/3x3/forms", ..., r"cell\.branches\.3x3\.forms: it must be given"),
        (
            "cell/branches/more",
            {"forms": "3x3", "channels": 8},
            r"more and 3x3 can both come out as 3x3",
        ),
        (
            "cell/branches/3x3/forms",
            ["3x3", "1x1+3x3"],
            r"3x3: two of its forms, with or without reduce, come out as 1x1 > 3x3",
        ),
        ("cell/branches/stem", {"forms": "5x5", "channels": 8}, r"must not be one of"),
        ("cell/branches/a.b", {"forms": "5x5", "channels": 8}, r"a branch's name must be letters"),
        ("cell/branches/7", {"forms": "5x5", "channels": 8}, r"a branch's name .*not 7"),
        ("reductions/conv", ..., r"reductions\.conv: it must be given, since kind can be conv"),
        ("reductions/cell", ..., r"reductions\.cell: it must be given, since kind can be cell"),
        (
            "auxiliary/heads",
            [{"stage": 1, "cell": 1}],
            r"heads\.0: no architecture has a cell 1 in",
        ),
        (
            "auxiliary/heads",
            [{"stage": 2, "cell": 0}],
            r"heads\.0: no architecture has a cell 0 in",
        ),
        ("auxiliary/heads", [{"stage": 0, "cell": 0}] * 2, r"heads\.1: .* has a head already"),
        ("head/hidden", [[None, 8], 8], r"head\.hidden\.0: none is allowed where there is one"),
        # Versions and what is missing.
        ("format", 2, r"format: 2 is newer than this version reads \(1\)"),
        ("format", "1", r"format: it must be 1, not '1'"),
        ("format", ..., r"format: it must be given"),
        ("stages", ..., r"stages: it must be given"),
        ("stages/count", ..., r"stages\.count: it must be given"),
    ],
)
def test_refused(path: str, value: Any, message: str) -> None:
    assert re.search(message, refusal(changed(path, value)))


@pytest.mark.parametrize(
    ("forms", "extra", "message"),
    [
        ("3x3+3x3", {"inner": ["channels", 8]}, r"3x3\.inner: channels and reduce are no options"),
        ("3x3+3x3", {"inner": "reduce"}, r"3x3\.inner: reduce needs a reduce that is never none"),
        ("3x3+3x3", {"inner": "width"}, r"3x3\.inner: it must be channels, reduce, or a width"),
    ],
)
def test_inner_widths_refused(forms: str, extra: dict[str, Any], message: str) -> None:
    branch = {"forms": forms, "reduce": ["none", 4], "channels": 8, **extra}
    assert re.search(message, refusal(changed("cell/branches/3x3", branch)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must be a mapping with a format, not None"),
        ("[1, 2]", r"must be a mapping with a format, not \[1, 2\]"),
        ("format: [1", r"mine\.yaml, line 1: "),
        ("a: 1\n\tb: 2", r"mine\.yaml, line 2: "),
        (GOOD + "name: again\n", r"line \d+: the key 'name' is given twice"),
        (
            "a: !!python/object/apply:os.system ['touch pwned']",
            r"line 1: could not determine a con",
        ),
        ("a: !!python/object:nas.architecture.Shape {}", r"could not determine a constructor"),
        ("a: !!python/name:os.system", r"could not determine a constructor"),
        ("[" * 2_000, r"it is not YAML|line 1: "),
        ("&a {format: 1, name: x, stem: *a}", r"mine\.yaml: "),
        ("? {a: 1}\n: 2", r"line 1: "),
        ("format: 1 \x00", r"mine\.yaml"),
        ("format: 2026-13-45", r"it is not YAML"),
        ("a: " + "x" * 1_100_000, r"must be at most 1,000,000 bytes"),
    ],
)
def test_text_that_is_no_space(text: str, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(message, refusal(text))
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert "unknown key" in refusal("\n".join(lines))
    assert "name: " in refusal(GOOD.replace("name: good", "name: &n [1, *n]"))


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(
        ValueError, match=r"mine\.yaml: the space's file cannot be read: No such fi"
    ):
        SearchSpace.load(path)
    path.write_text(GOOD)
    assert SearchSpace.load(path).name == SearchSpace.load(str(path)).name == "good"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ValueError, match=r"mine\.yaml: a space's file must be UTF-8 text"):
        SearchSpace.load(path)
    with pytest.raises(ValueError, match=r"is a directory, not a space file"):
        SearchSpace.load(tmp_path)


def test_a_misspelt_space_gets_the_nearest_name() -> None:
    assert space_names() == ["googlenet", "googlenet_small", "inception_v3", "tiny"]
    with pytest.raises(
        ValueError, match=r"unknown search space 'googlnet'; did you mean 'googlenet'"
    ):
        SearchSpace.load("googlnet")


def test_json_gives_the_same_space() -> None:
    for name in space_names():
        space = SearchSpace.load(name)
        again = SearchSpace.from_json(space.to_json())
        assert (again.name, again.fingerprint) == (name, space.fingerprint)
        assert again.parameters == space.parameters
    for text in ("", "[1]", '{"format": 1', '{"format": 1}'):
        with pytest.raises(ValueError, match="the recorded space"):
            SearchSpace.from_json(text)


def test_the_fingerprint_follows_the_choices_and_nothing_else() -> None:
    space = SearchSpace.from_yaml(GOOD)
    same = GOOD.replace("name: good", "name: other\ndescription: too").replace("3M", "4M")
    assert SearchSpace.from_yaml(same + "# a comment\n").fingerprint == space.fingerprint
    fingerprints = {space.fingerprint}
    for path, value in [
        ("stem/0/channels", [8, 24]),
        ("stem/0/kernel", 5),
        ("stages/cells", {"low": 1, "high": 3}),
        ("cell/branches/1x1/channels", 9),
        ("auxiliary/pool/side", 3),
        ("auxiliary/heads", [{"stage": 0, "cell": 0}]),
        ("norm/eps", 0.01),
        ("cell/residual", [False, True]),
    ]:
        fingerprints.add(SearchSpace.from_yaml(changed(path, value)).fingerprint)
    assert len(fingerprints) == 9


def test_the_documentation_s_examples() -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    first = yaml.safe_load(blocks[0][1])
    spaces = 0
    for language, block in blocks:
        if language == "yaml":
            data = yaml.safe_load(block)
            # Parts of a file stand in the first example; they name a branch 5x5 that it has not.
            branches = {**first["cell"]["branches"], "5x5": {"forms": "5x5", "channels": 8}}
            merged = {**first, "cell": {"branches": branches}, **data}
            if "auxiliary" in data:
                stages = {"count": 2, "cells": 4}
                merged["stages"] = stages
            if "reductions" in data:
                merged["stages"] = {"count": 3, "cells": 1}
            assert SearchSpace.from_yaml(yaml.safe_dump(merged, sort_keys=False)).size > 1
            spaces += 1
        elif language == "python":
            exec(block, {})
    assert spaces == 4
