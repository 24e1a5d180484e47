"""``MODEL_CARD.md`` of an export: what a person should know before using the files.

The card of a training, where there is one, comes first and is not changed. The tables draw on
the same proofs and latencies as ``export.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.export.artefacts import Job
    from nas.export.proof import Proof
    from nas.export.timing import Latencies

CARD = "MODEL_CARD.md"

ABOUT = {
    "json": "the description, which `nas` reads",
    "source": "Python, torch only; to read and to train further",
    "weights": "safetensors, for the source",
    "fused": "Python, torch only; inference: norms folded, 1x1s merged",
    "onnx": "ONNX, any number of images",
    "pt2": "`torch.export`, any number of images",
    "aot": "compiled by AOTInductor for this processor",
    "int8": "ONNX with 8-bit weights and maps",
}


def write_card(
    job: Job,
    facts: Mapping[str, Any],
    files: Mapping[str, str],
    proofs: Mapping[str, Proof],
    latencies: Latencies | None,
    training_card: str | None,
) -> str:
    """The text: the training's card if any, then what was exported, proven and timed.

    ``facts`` are those of export.json, ``files`` names by format.
    """
    parts = [training_card.rstrip()] if training_card else [f"# {job.name}", *_about(job, facts)]
    parts += ["## Exported files", *_warnings(job), _files(files)]
    if proofs:
        parts += [_proofs(proofs)]
    if latencies is not None:
        parts += [_latencies(latencies)]
    parts += [_input(job), _made(facts)]
    return "\n\n".join(parts) + "\n"


def _about(job: Job, facts: Mapping[str, Any]) -> list[str]:
    text = (
        f"An Inception network for {job.image} images and {job.classes:,} classes: "
        f"{facts['params']:,} parameters, {facts['macs']:,} MACs (multiply-adds) an image, "
        f"architecture `{facts['fingerprint']}`."
    )
    return [text]


def _warnings(job: Job) -> list[str]:
    if job.is_proxy:
        return ["**This is the PROXY of a search**: narrowed and briefly trained, not the network."]
    if job.weights is None:
        return [
            "**The weights are RANDOM**: these files measure size and speed, and predict nothing."
        ]
    return []


def _files(files: Mapping[str, str]) -> str:
    return _table(
        ["file", "what it is"], [[f"`{name}`", ABOUT[kind]] for kind, name in files.items()]
    )


def _proofs(proofs: Mapping[str, Proof]) -> str:
    rows = [
        [
            kind,
            f"{proof.largest_difference:.2g}",
            f"{proof.largest_output:.3g}",
            f"{100 * proof.top1_agreement:.2f} %",
            _accuracy(proof),
            f"{proof.num_images:,}: {proof.images}",
        ]
        for kind, proof in proofs.items()
    ]
    heads = ["format", "largest difference", "largest logit", "same top-1", "accuracy", "images"]
    return (
        "Each file was loaded by its own runtime in a fresh Python without inception-nas, and "
        "compared with the network:\n\n" + _table(heads, rows)
    )


def _accuracy(proof: Proof) -> str:
    found = proof.accuracy
    if found is None:
        return ""
    return (
        f"{100 * found.artefact:.2f} % of {100 * found.network:.2f} % "
        f"({100 * found.lost:+.2f} points lost)"
    )


def _latencies(latencies: Latencies) -> str:
    rows = [
        [
            row.format,
            str(row.batch),
            f"{row.median_ms:,.2f}",
            f"{row.quartiles_ms[0]:,.2f} to {row.quartiles_ms[1]:,.2f}",
            str(row.num_runs),
            f"{row.speedup:.2f}",
        ]
        for row in latencies.rows
    ]
    heads = ["format", "batch", "median ms", "quartiles", "runs", "times as fast as eager"]
    plural = "" if latencies.threads == 1 else "s"
    return (
        f"Latency in turns with the eager module, on {latencies.processor}, {latencies.threads} "
        f"thread{plural}:\n\n" + _table(heads, rows)
    )


def _input(job: Job) -> str:
    known = job.preprocessing
    shape = f"N, {job.image.channels}, {job.image.height}, {job.image.width}"
    if not known.mean:
        return f"Input: float32 images ({shape}), normalised as in training; it is not known how."
    return (
        f"Input: float32 images ({shape}): pixels / 255, minus {list(known.mean)}, divided by "
        f"{list(known.std)} (by channel)."
    )


def _made(facts: Mapping[str, Any]) -> str:
    return f"Exported {facts['created']} by inception-nas {facts['version']}."


def _table(heads: list[str], rows: list[list[str]]) -> str:
    cells = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in cells)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
