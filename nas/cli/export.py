"""``nas export``: a chosen network as files that stand alone, with the proof."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import Device, Json, add_command, flag, whole

if TYPE_CHECKING:
    from nas.architecture import Architecture, Shape
    from nas.export import Export
    from nas.export.material import Material

WEIGHTS = "Weights"
SUBJECTS = "a run, a directory of nas train, an architecture's JSON file or a preset"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(
        app,
        "export",
        export,
        short="A network as source, weights and JSON, with proof.",
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
            "--format", metavar="LIST", help="Of json,source,weights. Default: all there can be."
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
            help="Of nas train, or a safetensors file.",
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
    device: Device = "auto",
    overwrite: Annotated[bool, flag("--overwrite", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Export a network as files that stand alone: description, source, weights.

    The source needs nothing but torch. It is loaded in a fresh Python without this package and
    compared with the network; the largest difference is printed. What fails is not left behind.
    """
    from nas.export import FORMATS, export_architecture
    from nas.export.bundle import check_target

    if proxy and weights is not None:
        raise ValueError("--proxy and --weights are two kinds of weights: give one of them")
    chosen = None if formats is None else [part.strip() for part in formats.split(",")]
    _refuse_unknown(chosen, FORMATS)
    check_target(out, overwrite)
    subject = (
        _as_proxy(what, pick, image, classes, device)
        if proxy
        else _find(what, pick, image, classes)
    )
    if weights is not None:
        subject = _with_weights(subject, weights)
    material = subject.material
    result = export_architecture(
        subject.architecture,
        subject.image,
        subject.classes,
        out=out,
        formats=chosen,
        weights=None if material is None else material.weights,
        name=name or subject.name,
        preprocessing=None if material is None else material.preprocessing,
        auxiliary=auxiliary,
        is_proxy=proxy,
        overwrite=overwrite,
        details=None if material is None else material.details,
    )
    _report(result, subject, as_json=as_json)


def _refuse_unknown(chosen: list[str] | None, known: tuple[str, ...]) -> None:
    from nas.quantities import unknown_name

    for wanted in chosen or ():
        if wanted not in known:
            raise ValueError(unknown_name("format", wanted, known))


def _find(what: str, pick: str | None, image: str | None, classes: int | None) -> Subject:
    from nas.cli.inputs import find_run, trial_of_run
    from nas.export.material import is_trained, read_trained

    run = find_run(what, wanted_by=None if pick is None else "--pick")
    if run is not None:
        _refuse_size(image, classes, "a run")
        picked = trial_of_run(run, pick)
        return Subject(picked.name, picked.architecture, picked.image, picked.classes)
    if Path(what).is_dir() and is_trained(Path(what)):
        _refuse_size(image, classes, "a trained network")
        material = read_trained(Path(what))
        name = Path(what).resolve().name
        return Subject(name, material.architecture, material.image, material.classes, material)
    return _described(what, image, classes)


def _refuse_size(image: str | None, classes: int | None, what: str) -> None:
    if image is not None or classes is not None:
        raise ValueError(f"--image and --classes are those of {what} already; leave them out")


def _described(what: str, image: str | None, classes: int | None) -> Subject:
    from nas.cli.inputs import default_classes, parse_image, read_architecture

    named = read_architecture(what, SUBJECTS)
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
        image, classes = material.image, material.classes
        return Subject(subject.name, subject.architecture, image, classes, material)
    material = Material(
        subject.architecture, subject.image, subject.classes, weights, Preprocessing()
    )
    return Subject(subject.name, subject.architecture, subject.image, subject.classes, material)


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
    print(f"{result.directory / 'export.json'} (what it is, and its proof)")
    if result.proof is not None:
        weights = "random weights" if result.proof.weights == "random" else "its weights"
        print_text()
        print_text(
            f"Proof: in a fresh Python without this package, on {result.proof.num_images} images, "
            f"with {weights}:"
        )
        difference, limit = result.proof.largest_difference, result.proof.limit
        print_text(f"largest difference {difference:.2g} (limit {limit:.2g})", bold=True)
    if subject.material is None:
        print_text("Without weights: train it with nas train, or fill Network() with your own.")


def _as_data(result: Export) -> dict[str, Any]:
    proof = result.proof
    return {
        "directory": str(result.directory),
        "files": {name: str(path) for name, path in result.files.items()},
        "largest_difference": result.largest_difference,
        "limit": None if proof is None else proof.limit,
    }
