"""How fast exported GoogLeNet is in each format, in turns with the plain eager module.

    python benchmarks/export_latency.py [--preset googlenet] [--threads 2] [--seconds 25]
        [--files DIR] [--out results/export_latency]

Writes the formats (random weights; into DIR, where a second call finds them), then times them in
one fresh process that has no inception-nas: in each round every format runs once, after an
untimed run of its own. Medians and quartiles of the rounds. Beside the formats that `nas export`
writes stand two that it does not: the eager module in channels_last, which says how much of the
fused form's gain is the layout's, and ONNX with merged 1x1s, which says why ours keeps them apart.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from contestants.hardware import describe_hardware

from nas.cost import count_cost
from nas.export.artefacts import Bench, Job, network_of
from nas.export.folding import fuse_weights
from nas.export.graphs import check_tools, write_onnx
from nas.export.proof import Artefact, run_fresh
from nas.export.source import Preprocessing
from nas.export.timing import Latency, rows_of
from nas.presets import PRESET_IMAGES, load_preset

CHANNELS_LAST = """

class ChannelsLast(Network):
    def __init__(self) -> None:
        super().__init__()
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.contiguous(memory_format=torch.channels_last))


Network = ChannelsLast
"""

NAMES = {
    "eager": "plain source, eager (nothing done)",
    "channels_last": "the same in channels_last",
    "fused": "fused source, eager",
    "pt2": "torch.export",
    "aot": "AOTInductor",
    "onnx": "ONNX Runtime",
    "onnx_merged": "ONNX Runtime, 1x1s merged",
    "int8": "ONNX Runtime, int8",
}


def write_formats(bench: Bench, folder: Path) -> dict[str, Artefact]:
    """The files of all formats by their key in :data:`NAMES`."""
    eager = bench.eager
    formats = {"eager": eager, "channels_last": channels_last(eager, folder)}
    for wanted, name in (
        ("fused", "network_fused.py"),
        ("pt2", "network_exported.pt2"),
        ("aot", "network_aot.pt2"),
        ("onnx", "network.onnx"),
        ("int8", "network_int8.onnx"),
    ):
        print(f"writing {name}", flush=True)
        formats[wanted] = bench.write(wanted, folder / name, folder / "weights_fused.safetensors")
    formats["onnx_merged"] = merged_onnx(bench, folder)
    return {key: formats[key] for key in NAMES}


def channels_last(eager: Artefact, folder: Path) -> Artefact:
    path = folder / "network_channels_last.py"
    path.write_text(eager.path.read_text() + CHANNELS_LAST)
    return Artefact("source", path, eager.weights)


def merged_onnx(bench: Bench, folder: Path) -> Artefact:
    path = folder / "network_merged.onnx"
    network = network_of(folder / "network_fused.py")
    network.load_state_dict(fuse_weights(bench.job.architecture, bench.weights))
    write_onnx(network.eval(), bench.job.image, path, bench.metadata)
    return Artefact("onnx", path)


def measure(formats: dict[str, Artefact], folder: Path, seconds: float) -> list[Latency]:
    rows = []
    for batch in (1, 32):
        job = {"mode": "time", "batch": batch, "seconds": seconds, "least": 5, "most": 200}
        found = run_fresh(list(formats.values()), job, folder)
        rows += rows_of(list(formats), batch, found["seconds"])
    return rows


def table(rows: list[Latency]) -> list[str]:
    lines = ["| batch | format | median ms | quartiles | runs | times as fast as eager |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in rows:
        low, high = row.quartiles_ms
        lines.append(
            f"| {row.batch} | {NAMES[row.format]} | {row.median_ms:,.1f} | {low:,.1f} to "
            f"{high:,.1f} | {row.num_runs} | {row.speedup:.2f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="googlenet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=25, help="of each batch size")
    parser.add_argument("--files", type=Path, default=Path("build/export_latency"))
    parser.add_argument("--write-only", action="store_true", help="write the formats, time nothing")
    parser.add_argument("--out", type=Path, default=Path("results/export_latency"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    architecture, image = load_preset(options.preset), PRESET_IMAGES[options.preset]
    cost = count_cost(architecture, image, 1000)
    for wanted in ("onnx", "aot"):
        check_tools(wanted, cost.params)
    job = Job(architecture, image, 1000, options.preset, None, Preprocessing(), False, False)
    folder = options.files.resolve()
    index = folder / "formats.json"
    if not index.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        written = {
            key: artefact.as_job()
            for key, artefact in write_formats(Bench(job, folder), folder).items()
        }
        index.write_text(json.dumps(written))
    if options.write_only:
        return
    formats = {key: read_artefact(found) for key, found in json.loads(index.read_text()).items()}
    rows = measure(formats, folder, options.seconds)
    hardware = describe_hardware("cpu")
    options.out.mkdir(parents=True, exist_ok=True)
    head = [
        f"{options.preset} at {image}, {cost.macs:,} MACs, random weights; {options.threads} "
        f"threads; " + ", ".join(f"{key} {value}" for key, value in hardware.items()) + ".",
        "",
        "    python benchmarks/export_latency.py",
        "",
    ]
    (options.out / "table.md").write_text("\n".join([*head, *table(rows)]) + "\n")
    content = {"hardware": hardware, "threads": options.threads, "rows": [asdict(r) for r in rows]}
    (options.out / "latency.json").write_text(json.dumps(content, indent=2) + "\n")
    print("\n".join([*head, *table(rows)]))


def read_artefact(found: dict[str, Any]) -> Artefact:
    weights = None if found["weights"] is None else Path(found["weights"])
    return Artefact(found["format"], Path(found["path"]), weights, found["auxiliary"])


if __name__ == "__main__":
    main()
