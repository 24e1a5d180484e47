"""The other side of every proof: run as a file by a bare Python, never imported.

``python -I fresh_process.py JOB.json`` loads artefacts with their own runtimes: source files with
torch and safetensors, ``.onnx`` with ONNX Runtime and numpy alone, ``.pt2`` with torch. The job's
``mode`` is "run" (one artefact answers the images of a case; its outputs go to a file) or "time"
(all artefacts take turns). One line of JSON is printed. The package is refused even where it is
installed, and images of a data set are normalised with what the artefact itself says of them.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

BATCH = 32
METADATA = "metadata.json"
"""The extra file of a ``.pt2`` that holds what travels with it."""


class _Refuse(importlib.abc.MetaPathFinder):
    """Makes every import of this package fail: the artefact has to stand alone."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Raise for this package; leave all others to the finders behind."""
        if fullname.split(".", maxsplit=1)[0] in ("nas", "search_spaces"):
            raise ImportError(f"the exported artefact must not import {fullname}")


class Loaded(NamedTuple):
    """An artefact in its runtime.

    ``answer`` takes normalised images, float32 (N, C, H, W), and gives arrays of logits;
    ``described`` holds image, class_names, mean and std; ``normalise`` is the artefact's own.
    """

    answer: Callable[[Any], list[Any]]
    described: dict[str, Any]
    versions: dict[str, str]
    normalise: Callable[[Any], Any] | None = None


def _load_source(artefact: dict[str, Any], threads: int) -> Loaded:
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(threads)
    module = _module(artefact["path"])
    network = module.Network()
    network.load_state_dict(load_file(artefact["weights"]), strict=True)
    network.eval()

    def answer(images: Any) -> list[Any]:
        with torch.inference_mode():
            inputs = torch.from_numpy(images)
            if not artefact.get("auxiliary"):
                return [network(inputs).numpy()]
            logits = network.forward_with_auxiliary(inputs)
            return [output.numpy() for output in (logits.main, *logits.auxiliary)]

    def normalise(pixels: Any) -> Any:
        return module.preprocess(torch.from_numpy(pixels)).numpy()

    described = {
        "image": list(module.IMAGE),
        "class_names": list(getattr(module, "CLASS_NAMES", ())),
        "mean": list(getattr(module, "MEAN", ())),
        "std": list(getattr(module, "STD", ())),
    }
    return Loaded(answer, described, {"torch": torch.__version__}, normalise)


def _module(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("exported_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load_onnx(artefact: dict[str, Any], threads: int) -> Loaded:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Else its threads go on spinning after a run, in the time of whatever is measured next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        artefact["path"], options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def answer(images: Any) -> list[Any]:
        return list(session.run(None, {name: images}))

    described = _described(session.get_modelmeta().custom_metadata_map)
    return Loaded(answer, described, {"onnxruntime": onnxruntime.__version__})


def _load_pt2(artefact: dict[str, Any], threads: int) -> Loaded:
    import torch

    torch.set_num_threads(threads)
    extra = {METADATA: ""}
    module = torch.export.load(artefact["path"], extra_files=extra).module()
    return _torch_loaded(module, json.loads(extra[METADATA]))


def _load_aot(artefact: dict[str, Any], threads: int) -> Loaded:
    import torch
    from torch._inductor import aoti_load_package

    torch.set_num_threads(threads)
    package = aoti_load_package(artefact["path"])
    return _torch_loaded(package, package.get_metadata())


def _torch_loaded(module: Callable[[Any], Any], metadata: dict[str, str]) -> Loaded:
    import torch

    def answer(images: Any) -> list[Any]:
        with torch.inference_mode():
            return [module(torch.from_numpy(images)).numpy()]

    return Loaded(answer, _described(metadata), {"torch": torch.__version__})


LOADERS = {
    "source": _load_source,
    "fused": _load_source,
    "onnx": _load_onnx,
    "int8": _load_onnx,
    "pt2": _load_pt2,
    "aot": _load_aot,
}


def _described(metadata: dict[str, str]) -> dict[str, Any]:
    found = {name: json.loads(metadata[name]) for name in ("class_names", "mean", "std")}
    return {"image": [int(side) for side in metadata["image"].split("x")], **found}


def _normalised(loaded: Loaded, pixels: Any) -> Any:
    """Pixels (uint8) as the artefact says; numbers (float32) as they are."""
    import numpy as np

    if pixels.dtype == np.float32:
        return pixels
    if loaded.normalise is not None:
        return loaded.normalise(pixels)
    mean, std = (
        np.array(loaded.described[name], dtype=np.float32).reshape(1, -1, 1, 1)
        for name in ("mean", "std")
    )
    return (pixels.astype(np.float32) / np.float32(255) - mean) / std


def _run(job: dict[str, Any], loaded: Loaded) -> dict[str, Any]:
    import numpy as np

    images = np.load(job["case"], mmap_mode="r")
    parts = [
        loaded.answer(_normalised(loaded, np.ascontiguousarray(images[first : first + BATCH])))
        for first in range(0, len(images), BATCH)
    ]
    outputs = {
        str(number): np.concatenate(part) for number, part in enumerate(zip(*parts, strict=True))
    }
    np.savez(job["outputs"], allow_pickle=False, **outputs)
    versions = {"python": platform.python_version(), **loaded.versions}
    return {"described": loaded.described, "versions": versions}


def _time(job: dict[str, Any], artefacts: Sequence[Loaded]) -> dict[str, Any]:
    """Seconds of each artefact's runs; in each round each one runs once, after a warm-up."""
    import numpy as np

    image = artefacts[0].described["image"]
    numbers = np.random.default_rng(0)
    images = numbers.standard_normal((job["batch"], *image), dtype=np.float32)
    for each in artefacts:
        each.answer(images)
    seconds: list[list[float]] = [[] for _ in artefacts]
    end = time.perf_counter() + job["seconds"]
    rounds = 0
    while rounds < job["least"] or (rounds < job["most"] and time.perf_counter() < end):
        for each, found in zip(artefacts, seconds, strict=True):
            # Its own untimed run: caches and threads are then its own, not the one's before.
            if not found or found[-1] < 0.1:
                each.answer(images)
            start = time.perf_counter()
            each.answer(images)
            found.append(time.perf_counter() - start)
        rounds += 1
    return {"seconds": seconds}


def main(path: str) -> None:
    """Do the job of a file, and print what was found as JSON."""
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    sys.meta_path.insert(0, _Refuse())
    sys.dont_write_bytecode = True
    # Where runtimes come from a path that -I drops, they are looked up there, last.
    sys.path.extend(path for path in job["paths"] if path not in sys.path)
    loaded = [LOADERS[each["format"]](each, job["threads"]) for each in job["artefacts"]]
    found = _run(job, loaded[0]) if job["mode"] == "run" else _time(job, loaded)
    found["modules"] = sorted({"torch", "onnxruntime", "nas"} & sys.modules.keys())
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
