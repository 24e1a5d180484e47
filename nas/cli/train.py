"""``nas train``: one network, fully, at its own width."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from nas.cli.options import Device, add_command, flag, whole

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.training.full import Progress, TrainingReport

SUBJECTS = "a run, an architecture's JSON file or a preset"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(
        app,
        "train",
        train,
        short="Train one network fully; test accuracy at the end.",
        example="nas train first --pick knee --epochs 20",
    )


def train(  # noqa: PLR0913 - one parameter an option
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE|PRESET",
            help="A run (its name in ./results, or its directory; see --pick), an architecture's "
            "JSON file, or a preset's name.",
        ),
    ],
    *,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="fashion-mnist-mini, fashion-mnist, hf:OWNER/NAME, folder:DIR or parquet:DIR. "
            "Default: a run's own.",
        ),
    ] = None,
    pick: Annotated[
        str | None,
        typer.Option(
            metavar="PICK", help="Of a run: knee (default), best, cheapest, trial:N or macs<=50M."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Default: RUN/PICK, or results/trained/NAME."),
    ] = None,
    epochs: Annotated[int, whole(1, help="Passes over the data.")] = 10,
    recipe: Annotated[str, typer.Option(metavar="NAME", help="default or paper.")] = "default",
    resolution: Annotated[
        int | None,
        whole(
            1,
            help="Resize the images. Default: a run's target, else their own size.",
            metavar="PIXELS",
        ),
    ] = None,
    classes: Annotated[
        int | None,
        whole(2, help="Of the classifier. Default: a run's target, else the data's."),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="auto, float32 or bfloat16.")
    ] = "auto",
    seed: Annotated[int, whole(0, help="Of all that is random.")] = 0,
    device: Device = "auto",
    threads: Annotated[int | None, whole(1, help="On a processor. Default: all cores.")] = None,
    resume: Annotated[bool, flag("--resume", help="Go on after an interruption.")] = False,
) -> None:
    """Train one network at full width on all images, and measure it once on the test split.

    A run's network trains at the image and classes that the run counted its cost for.

    Writes architecture.json, weights.safetensors and training.json, for nas export.
    """
    from nas.search.workers import resolve_device
    from nas.task import recipe_named
    from nas.training.full import FullSettings, train_architecture

    subject = _find(what, pick, data, out)
    settings = FullSettings(
        data=subject.data,
        recipe=recipe_named(recipe),
        epochs=epochs,
        resolution=resolution or subject.resolution,
        classes=classes or subject.classes,
        seed=seed,
        precision=_checked_precision(precision),
    )
    chosen = resolve_device(device)
    with _ProgressLine(subject.name) as line:
        report = train_architecture(
            subject.architecture,
            settings,
            out=subject.folder,
            device=chosen,
            threads=threads,
            resume=resume,
            on_progress=line.show,
        )
    _report(report, subject.folder)


def _checked_precision(precision: str) -> Any:
    from nas.quantities import unknown_name

    known = ("auto", "float32", "bfloat16")
    if precision not in known:
        raise ValueError(unknown_name("precision", precision, known))
    return precision


class _Subject(NamedTuple):
    """What is trained, on what and where; resolution and classes where a run gives them."""

    name: str
    architecture: Architecture
    data: str
    folder: Path
    resolution: int | tuple[int, int] | None = None
    classes: int | None = None


def _find(what: str, pick: str | None, data: str | None, out: Path | None) -> _Subject:
    from nas.analysis.next_steps import pick_folder
    from nas.cli.inputs import find_run, read_architecture, trial_of_run
    from nas.task import Task

    run = find_run(what, wanted_by=None if pick is None else "--pick")
    if run is not None:
        picked = trial_of_run(run, pick)
        own = Task.from_json(run.settings.task).data
        height, width = picked.image.height, picked.image.width
        return _Subject(
            picked.name,
            picked.architecture,
            data or own,
            out or pick_folder(run, pick or "knee"),
            height if height == width else (height, width),
            picked.classes,
        )
    named = read_architecture(what, SUBJECTS)
    if data is None:
        raise ValueError(f"--data is needed to train {what}: for example --data fashion-mnist")
    folder = out or Path("results") / "trained" / named.name
    return _Subject(named.name, named.architecture, data, folder)


class _ProgressLine:
    """The training as it goes: one line in place on a terminal, a line an epoch elsewhere."""

    def __init__(self, name: str) -> None:
        from rich.console import Console

        self._name, self._console = name, Console(stderr=True, highlight=False)
        self._status = self._console.status(f"{name}: starting")
        self._epoch = 0

    def __enter__(self) -> _ProgressLine:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def show(self, progress: Progress) -> None:
        """Show how far it is."""
        from nas.quantities import format_seconds

        loss = "" if progress.train_loss is None else f", loss {progress.train_loss:.4f}"
        line = (
            f"{self._name}: epoch {progress.epoch}/{progress.epochs}{loss}, "
            f"{progress.images_per_second:,.0f} images/s, "
            f"about {format_seconds(progress.seconds_left)} left"
        )
        if self._console.is_terminal:
            self._status.update(line)
        elif progress.step == progress.steps:
            self._console.print(line, soft_wrap=True)


def _report(report: TrainingReport, folder: Path) -> None:
    from nas.analysis.shell import command
    from nas.cli.console import print_commands, print_facts
    from nas.quantities import format_seconds

    print_facts(
        {
            f"{report.measured_on} accuracy": f"{100 * report.accuracy:.2f} % of "
            f"{report.num_measured:,} images of {report.data}, loss {report.loss:.4f}",
            "trained": f"{report.epochs} epochs of {report.num_train:,} images in "
            f"{format_seconds(report.seconds)}, {report.precision}, seed {report.seed}",
            "cost": f"{report.macs:,} MACs, {report.params:,} parameters",
            "files": str(folder),
        }
    )
    print_commands("Next", [command("export", folder, "--out", folder / "export")])
