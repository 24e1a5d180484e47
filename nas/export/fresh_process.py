"""The other side of the proof: run as a file by a bare Python, never imported.

``python -I fresh_process.py SOURCE WEIGHTS CASE [PATH ...]`` loads the exported source and the
weights with torch and safetensors alone, computes the case's inputs, and prints one line of JSON:
the largest difference from the case's outputs. The package is refused even where it is installed.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import sys
from typing import Any


class _Refuse(importlib.abc.MetaPathFinder):
    """Makes every import of this package fail: the artefact has to stand alone."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Raise for this package; leave all others to the finders behind."""
        if fullname.split(".", maxsplit=1)[0] in ("nas", "search_spaces"):
            raise ImportError(f"the exported source must not import {fullname}")


def _load_source(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("exported_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(source: str, weights: str, case: str, *paths: str) -> None:
    """Compare, and print the result as JSON."""
    sys.meta_path.insert(0, _Refuse())
    sys.dont_write_bytecode = True
    # Where torch and safetensors come from a path that -I drops, they are looked up there, last.
    sys.path.extend(path for path in paths if path not in sys.path)
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(weights, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    network = _load_source(source).Network()
    network.load_state_dict(tensors, strict=True)
    network.eval()
    expected = load_file(case)
    inputs = expected.pop("inputs")
    with torch.inference_mode():
        if len(expected) == 1:
            outputs = (network(inputs),)
        else:
            logits = network.forward_with_auxiliary(inputs)
            outputs = (logits.main, *logits.auxiliary)
    differences = [
        (outputs[int(name)] - value).abs().max().item() for name, value in expected.items()
    ]
    assert len(outputs) == len(expected)
    result = {
        "largest_difference": max(differences),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
