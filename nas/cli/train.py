"""``nas train``: one network, fully, at its own width."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from nas.cli.options import Device, Json, add_command, flag, whole

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.training.report import TrainingReport
    from nas.training.telling import Progress

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
    epochs: Annotated[int, whole(1, 10_000, help="Passes over the data.")] = 10,
    recipe: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="default, paper, cifar, or a YAML file (*.yaml)."),
    ] = "default",
    validation: Annotated[
        int | None,
        whole(
            1,
            help="Carve so many training images off, and keep the weights of the epoch that is "
            "best on them. Default: train on all, keep the last.",
            metavar="IMAGES",
        ),
    ] = None,
    resolution: Annotated[
        int | None,
        whole(
            1,
            1024,
            help="Resize the images. Default: a run's target, else their own size.",
            metavar="PIXELS",
        ),
    ] = None,
    classes: Annotated[
        int | None,
        whole(2, 1_000_000, help="Of the classifier. Default: a run's target, else the data's."),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="auto, float32 or bfloat16.")
    ] = "auto",
    seed: Annotated[int, whole(0, help="Of all that is random.")] = 0,
    device: Device = "auto",
    threads: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="On a processor: a number, or auto for one or all, whichever is faster at the "
            "moment (the bits then vary). Default: the checkpoint's, OMP_NUM_THREADS, all cores.",
        ),
    ] = None,
    tensorboard: Annotated[
        bool, flag("--tensorboard", help="Curves for TensorBoard, in DIR/tensorboard.")
    ] = False,
    resume: Annotated[bool, flag("--resume", help="Go on after an interruption.")] = False,
    as_json: Json = False,
) -> None:
    """Train one network at full width on all images, and measure it once on the test split.

    A run's network trains at the image and classes that the run counted its cost for.

    Writes architecture.json, weights.safetensors, MODEL_CARD.md and training.json, for nas
    export; and after every epoch checkpoint.pt, for --resume.

    On several GPUs: torchrun --nproc-per-node 2 -m nas train ...
    """
    from nas.cli.console import note
    from nas.cli.inputs import find_recipe
    from nas.cli.search_task import check_precision
    from nas.latency.solitude import training
    from nas.search.workers import resolve_device
    from nas.training.full import FullSettings, train_architecture
    from nas.training.processes import launched_processes

    count = _checked_threads(threads)
    subject = _find(what, pick, data, out)
    settings = FullSettings(
        data=subject.data,
        recipe=find_recipe(recipe),
        epochs=epochs,
        resolution=resolution or subject.resolution,
        classes=classes or subject.classes,
        seed=seed,
        precision=check_precision(precision),
        validation_images=validation or 0,
    )
    chosen = resolve_device(device)
    with training(note), launched_processes(chosen) as processes:
        if chosen != "cpu" and processes.count > 1:
            chosen = f"cuda:{processes.local_rank}"
        if resume and processes.is_first and not _is_begun(subject.folder):
            note(f"note: {subject.folder} holds no training to go on with: this one begins anew")
        is_silent = not processes.is_first
        with (
            _told_how_to_go_on(subject.folder, is_silent=is_silent),
            _ProgressLine(subject.name, is_silent=is_silent) as line,
        ):
            report = train_architecture(
                subject.architecture,
                settings,
                out=subject.folder,
                device=chosen,
                threads=count,
                resume=resume,
                tensorboard=tensorboard,
                origin=subject.origin,
                processes=processes,
                on_progress=line.show,
            )
        if processes.is_first:
            _report(report, subject.folder, as_json=as_json)


MOST_THREADS = 1024


def _checked_threads(text: str | None) -> Any:
    if text is None or text == "auto":
        return text
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= MOST_THREADS:
        rule = f"auto or an integer from 1 to {MOST_THREADS:,}"
        raise ValueError(f"--threads must be {rule}, not {text!r}")
    return int(text)


@contextmanager
def _told_how_to_go_on(folder: Path, *, is_silent: bool) -> Iterator[None]:
    """After Ctrl-C a line on what is kept, where something is."""
    from nas.cli.console import note

    try:
        yield
    except KeyboardInterrupt:
        if not is_silent and _is_begun(folder):
            note(f"{folder} keeps the last whole epoch; --resume goes on from there")
        raise


def _is_begun(folder: Path) -> bool:
    from nas.training.result_files import CHECKPOINT, TRAINING

    return any((folder / name).is_file() for name in (CHECKPOINT, TRAINING))


class _Subject(NamedTuple):
    """What is trained, on what and where; resolution and classes where a run gives them."""

    name: str
    architecture: Architecture
    data: str
    folder: Path
    resolution: int | tuple[int, int] | None = None
    classes: int | None = None
    origin: dict[str, Any] | None = None


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
            {"run": run.name, "trial": picked.number, "pick": pick or "knee"},
        )
    named = read_architecture(what, SUBJECTS)
    if data is None:
        raise ValueError(f"--data is needed to train {what}: for example --data fashion-mnist")
    folder = out or Path("results") / "trained" / named.name
    origin = {"preset" if what == named.name else "file": named.name}
    return _Subject(named.name, named.architecture, data, folder, origin=origin)


class _ProgressLine:
    """The training as it goes: one line in place on a terminal.

    Elsewhere a line an epoch, and within long epochs one in so many seconds.
    """

    def __init__(self, name: str, *, is_silent: bool = False, every: float = 15.0) -> None:
        from rich.console import Console

        self._every, self._shown = every, time.monotonic()
        self._name, self._console = name, Console(stderr=True, highlight=False, quiet=is_silent)
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
        if progress.validation_accuracy is not None:
            loss += f", validation {100 * progress.validation_accuracy:.2f} %"
        is_whole = progress.step == progress.steps
        where = "" if is_whole else f", step {progress.step:,} of {progress.steps:,}"
        line = (
            f"{self._name}: epoch {progress.epoch}/{progress.epochs}{where}{loss}, "
            f"{progress.images_per_second:,.0f} images/s"
        )
        if not is_whole or progress.epoch < progress.epochs:
            line += f", about {format_seconds(progress.seconds_left)} left"
        if self._console.is_terminal:
            self._status.update(line)
            return
        if is_whole or time.monotonic() - self._shown >= self._every:
            self._shown = time.monotonic()
            self._console.print(line, soft_wrap=True, markup=False)


def _report(report: TrainingReport, folder: Path, *, as_json: bool) -> None:
    from dataclasses import asdict

    from nas.analysis.shell import command
    from nas.cli.console import print_commands, print_facts, print_json
    from nas.quantities import format_number_of, format_seconds

    if as_json:
        print_json({**asdict(report), "files": str(folder)})
        return
    low, high = (100 * limit for limit in report.accuracy_interval)
    facts = {
        f"{report.measured_on} accuracy": f"{100 * report.accuracy:.2f} % of "
        f"{report.num_measured:,} images of {report.data} (95 %: {low:.2f} to {high:.2f}), "
        f"loss {report.loss:.4f}",
        "weights": _weights(report),
        "trained": f"{format_number_of(report.epochs, 'epoch')} of {report.num_train:,} images in "
        f"{format_seconds(report.seconds)}, {report.precision}, seed {report.seed}",
        "cost": f"{report.macs:,} MACs, {report.params:,} parameters",
        "files": str(folder),
    }
    print_facts(facts)
    print_commands("Next", [command("export", folder, "--out", folder / "export")])


def _weights(report: TrainingReport) -> str:
    average = ", averaged" if report.is_averaged else ""
    if report.best_epoch is None:
        return f"of the last epoch{average}"
    best = 100 * report.validation_accuracies[report.best_epoch - 1]
    return (
        f"of epoch {report.best_epoch}{average}: {best:.2f} % of {report.num_validation:,} "
        "validation images"
    )
