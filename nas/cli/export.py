"""``nas export``: a chosen network as files that stand alone, with the proof."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import Json, add_command, flag, whole

if TYPE_CHECKING:
    from nas.architecture import Architecture, Shape
    from nas.export import Export, Step
    from nas.export.material import Material
    from nas.records import Run

WEIGHTS = "Weights"
FASTER = "Faster, or elsewhere"
SUBJECTS = "a run, a directory of nas train, an architecture's JSON file or a preset"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(
        app,
        "export",
        export,
        short="A network as source, ONNX, torch.export and more, with proof.",
        example="nas export results/first/knee --out knee",
    )


@dataclass(frozen=True)
class Subject:
    """What is exported: without material there are no weights."""

    name: str
    architecture: Architecture
    image: Shape
    classes: int
    material: Material | None = None
    details: dict[str, Any] = field(default_factory=dict)


def export(  # noqa: PLR0913 - one parameter an option
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE|PRESET",
            help="A run (its name in ./results, or its directory), a directory of nas train, "
            "an architecture's JSON file, or a preset.",
        ),
    ],
    *,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The directory to write.", show_default=False)
    ],
    pick: Annotated[
        str | None,
        typer.Option(
            metavar="PICK", help="Of a run: knee (default), best, cheapest, trial:N or macs<=50M."
        ),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="LIST",
            help="Of json,source,weights,fused,onnx,pt2,aot,int8. Default: the first three, as "
            "far as there are weights.",
        ),
    ] = None,
    fused: Annotated[
        bool,
        flag(
            "--fused",
            help="Source for inference too: norms folded, 1x1s merged.",
            panel=FASTER,
        ),
    ] = False,
    aot: Annotated[
        bool,
        flag("--aot", help="Compile for this processor (AOTInductor).", panel=FASTER),
    ] = False,
    quantize: Annotated[
        str | None,
        typer.Option(metavar="int8", help="ONNX with 8-bit numbers.", rich_help_panel=FASTER),
    ] = None,
    no_latency: Annotated[
        bool, flag("--no-latency", help="Do not time the formats.", panel=FASTER)
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Whose images compare and calibrate. Default: a training's or run's own, else "
            "random numbers.",
            rich_help_panel=FASTER,
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="SIZE", help="For a file or preset: 224 or 3x224x224.")
    ] = None,
    classes: Annotated[
        int | None,
        whole(1, help="Default: 1000 for images from 128 pixels on, 10 below."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the network is called in the files.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE",
            help="Of nas train, a safetensors file, or torchvision's .pth.",
            rich_help_panel=WEIGHTS,
        ),
    ] = None,
    proxy: Annotated[
        bool,
        flag(
            "--proxy",
            help="Export the narrowed network that the search trained, with its weights.",
            panel=WEIGHTS,
        ),
    ] = False,
    auxiliary: Annotated[
        bool,
        flag("--auxiliary", help="Keep the auxiliary heads (training only).", panel=WEIGHTS),
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Of --proxy: auto, cpu or cuda.", rich_help_panel=WEIGHTS
        ),
    ] = "auto",
    overwrite: Annotated[bool, flag("--overwrite", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Export a network as files that stand alone: description, source, weights, ONNX and more.

    Each file is loaded by its own runtime in a fresh Python without this package, and compared
    with the network on test images of its data; the largest difference is printed. What fails is
    not left behind.

    int8 is calibrated on training images and loses accuracy: how much is measured and printed.
    """
    from nas.export import FORMATS, export_architecture
    from nas.export.bundle import check_target
    from nas.export.timing import SECONDS

    if device != "auto" and not proxy:
        raise ValueError("--device is for --proxy, which trains again: nothing else here does")
    if name is not None and not name.strip():
        raise ValueError("--name must hold a letter or more: it stands in every file")
    if proxy and weights is not None:
        raise ValueError("--proxy and --weights are two kinds of weights: give one of them")
    if device != "auto" and not proxy:
        raise ValueError("--device is for --proxy: all else is exported on the processor")
    chosen = None if formats is None else [part.strip() for part in formats.split(",")]
    _refuse_unknown("format", chosen, FORMATS)
    _refuse_unknown("--quantize", None if quantize is None else [quantize], ("int8",))
    check_target(out, overwrite)
    subject = (
        _as_proxy(what, pick, image, classes, device)
        if proxy
        else _find(what, pick, image, classes, weights)
    )
    if weights is not None:
        subject = _with_weights(subject, weights)
    material = subject.material
    flags = {"fused": fused, "aot": aot, "int8": quantize is not None}
    added = [known for known, is_wanted in flags.items() if is_wanted]
    with _Steps(name or subject.name) as steps:
        result = export_architecture(
            subject.architecture,
            subject.image,
            subject.classes,
            out=out,
            formats=_with_added(chosen, added, has_weights=material is not None),
            weights=None if material is None else material.weights,
            name=name or subject.name,
            preprocessing=None if material is None else material.preprocessing,
            data=data,
            auxiliary=auxiliary,
            is_proxy=proxy,
            latency_seconds=0 if no_latency else SECONDS,
            overwrite=overwrite,
            details={**subject.details, **({} if material is None else material.details)},
            training_card=None if material is None else material.card,
            on_step=steps.show,
        )
    _report(result, subject, as_json=as_json)


def _with_added(
    chosen: list[str] | None, added: list[str], *, has_weights: bool
) -> list[str] | None:
    """The formats of --format, or the usual ones, and those of options of their own."""
    if not added:
        return chosen
    from nas.export.bundle import check_formats

    return [*(check_formats(chosen, has_weights=has_weights)), *added]


class _Steps:
    """What the export is doing: one line in place on a terminal, a line a step elsewhere."""

    def __init__(self, name: str) -> None:
        from rich.console import Console

        self._name, self._console = name, Console(stderr=True, highlight=False)
        self._status = self._console.status(f"{name}: starting")
        self._start = time.perf_counter()

    def __enter__(self) -> _Steps:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def show(self, step: Step) -> None:
        """Show the step, and after the first about how long the rest will take."""
        from nas.quantities import format_seconds

        done, spent = step.number - 1, time.perf_counter() - self._start
        left = f", about {format_seconds(spent / done * (step.steps - done))} left" if done else ""
        line = f"{self._name}: {step.number}/{step.steps} {step.words}{left}"
        if self._console.is_terminal:
            self._status.update(line)
        elif spent > 2:
            self._console.print(line, soft_wrap=True)


def _refuse_unknown(what: str, chosen: list[str] | None, known: tuple[str, ...]) -> None:
    from nas.quantities import unknown_name

    for wanted in chosen or ():
        if wanted not in known:
            raise ValueError(unknown_name(what, wanted, known))


def _find(
    what: str, pick: str | None, image: str | None, classes: int | None, weights: Path | None
) -> Subject:
    from nas.cli.inputs import find_run, trial_of_run
    from nas.export.material import is_trained, read_trained

    run = find_run(what, wanted_by=None if pick is None else "--pick")
    if run is not None:
        _refuse_size(image, classes, "a run")
        picked = trial_of_run(run, pick)
        details = {"run": {"name": run.name, "trial": picked.number, "data": _data_of(run)}}
        return Subject(
            picked.name, picked.architecture, picked.image, picked.classes, details=details
        )
    if Path(what).is_dir() and is_trained(Path(what)):
        _refuse_size(image, classes, "a trained network")
        material = read_trained(Path(what))
        name = Path(what).resolve().name
        return Subject(name, material.architecture, material.image, material.classes, material)
    return _described(what, image, classes, weights)


def _data_of(run: Run) -> str:
    from nas.task import Task

    return Task.from_json(run.settings.task).data


def _refuse_size(image: str | None, classes: int | None, what: str) -> None:
    if image is not None or classes is not None:
        raise ValueError(f"--image and --classes are those of {what} already; leave them out")


def _described(what: str, image: str | None, classes: int | None, weights: Path | None) -> Subject:
    from nas.cli.inputs import default_classes, parse_image, read_architecture
    from nas.export.material import trained_as

    named = read_architecture(what, SUBJECTS)
    if weights is not None and weights.is_dir():
        _refuse_size(image, classes, "the training in --weights")
        trained = trained_as(named.architecture, weights)
        return Subject(named.name, named.architecture, trained.image, trained.classes)
    shape = parse_image(image) if image is not None else named.image
    if shape is None:
        raise ValueError(f"--image is needed to export {what}: for example --image 3x32x32")
    known = named.classes if shape == named.image else None
    count = classes or known or default_classes(shape)
    return Subject(named.name, named.architecture, shape, count)


def _as_proxy(
    what: str, pick: str | None, image: str | None, classes: int | None, device: str
) -> Subject:
    from nas.analysis.picks import resolve_pick
    from nas.cli.console import note
    from nas.cli.inputs import find_run
    from nas.export.material import retrain_proxy
    from nas.search.workers import resolve_device

    run = find_run(what, wanted_by="--proxy")
    assert run is not None
    _refuse_size(image, classes, "a run")
    number = resolve_pick(run.trials, run.settings.objectives, "knee" if pick is None else pick)
    material = retrain_proxy(
        run,
        number,
        device=resolve_device(device),
        on_rung=lambda rung: note(
            f"training the proxy of trial {number} again: epoch {rung.epoch}, "
            f"error {100 * rung.error:.2f} %"
        ),
    )
    found = material.details["proxy"]
    if found["recorded_error"] is not None and found["error"] != found["recorded_error"]:
        note(
            f"note: its error is {found['error']:.4f} here and {found['recorded_error']:.4f} in "
            f"the run: another machine, device or version computes other bits"
        )
    name = f"{run.name}-trial{number}-PROXY"
    return Subject(name, material.architecture, material.image, material.classes, material)


def _with_weights(subject: Subject, weights: Path) -> Subject:
    from nas.export.material import Material, trained_as
    from nas.export.source import Preprocessing

    if weights.is_dir():
        material = trained_as(subject.architecture, weights)
    else:
        material = Material(
            subject.architecture, subject.image, subject.classes, weights, Preprocessing()
        )
    return replace(subject, image=material.image, classes=material.classes, material=material)


def _report(result: Export, subject: Subject, *, as_json: bool) -> None:
    from nas.cli.console import print_json, print_text

    if as_json:
        print_json(_as_data(result))
        return
    if subject.material is not None and subject.material.is_proxy:
        print_text(
            "This is the PROXY, not the architecture: narrowed and briefly trained.", bold=True
        )
    for path in result.files.values():
        print(f"{path} ({path.stat().st_size / 1e3:,.1f} kB)")
    print(f"{result.directory / 'export.json'} and MODEL_CARD.md (what it is, and its proofs)")
    _print_proofs(result)
    _print_latencies(result)
    if subject.material is None:
        print_text()
        if set(result.proofs) - {"source"}:
            print_text("The weights are RANDOM: good for size and speed only.", bold=True)
        print_text("Without weights: train it with nas train, or fill Network() with your own.")


def _print_proofs(result: Export) -> None:
    from nas.cli.console import print_table, print_text

    if not result.proofs:
        return
    first = next(iter(result.proofs.values()))
    weights = "random weights" if first.weights == "random" else "its weights"
    print_text()
    print_text(
        f"Proof: each in a fresh Python without this package, with {weights}, on {first.images}:"
    )
    rows = [
        [
            kind,
            f"{proof.num_images:,}",
            f"{proof.largest_difference:.2g}",
            f"{proof.limit:.2g}",
            f"{proof.noise:.1g}",
            f"{100 * proof.top1_agreement:.2f} %",
            "" if proof.accuracy is None else f"{100 * proof.accuracy.lost:+.2f} points",
        ]
        for kind, proof in result.proofs.items()
    ]
    heads = ["format", ">images", ">difference", ">limit", ">noise", ">same top-1", ">lost"]
    print_table(heads, rows, unbroken=("format",))
    print_text(
        "difference: the largest of a logit; noise: all of them, in standard deviations of the "
        "logits, which int8's limit is about; lost: accuracy on the same images."
    )


def _print_latencies(result: Export) -> None:
    from nas.cli.console import print_table
    from nas.quantities import format_number_of

    found = result.latencies
    if found is None:
        return
    rows = [
        [
            row.format,
            str(row.batch),
            f"{row.median_ms:,.2f}",
            f"{row.quartiles_ms[0]:,.2f} to {row.quartiles_ms[1]:,.2f}",
            f"{row.speedup:.2f}",
        ]
        for row in found.rows
    ]
    threads = format_number_of(found.threads, "thread")
    title = f"Latency in turns, {threads} of {found.processor}"
    heads = ["format", ">batch", ">median ms", ">quartiles", ">times as fast"]
    print_table(heads, rows, title=title, unbroken=("format",))


def _as_data(result: Export) -> dict[str, Any]:
    proof = result.proofs.get("source")
    return {
        "directory": str(result.directory),
        "files": {name: str(path) for name, path in result.files.items()},
        "largest_difference": result.largest_difference,
        "limit": None if proof is None else proof.limit,
        "proofs": {name: asdict(found) for name, found in result.proofs.items()},
        "latency": None if result.latencies is None else asdict(result.latencies),
    }
