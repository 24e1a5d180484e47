"""Tasks: settings and their files, defaults for a data set, and the proxy's rule."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nas.architecture import (
    AdaptivePool,
    Architecture,
    AuxiliaryHead,
    Cell,
    Conv,
    Head,
    Pool,
    Shape,
    cell_shapes,
    check,
)
from nas.presets import PRESETS, cifar_googlenet, googlenet
from nas.task import (
    RECIPES,
    Proxy,
    Steps,
    Target,
    Task,
    create_task,
    proxy,
    read_task_file,
    scaled_width,
)

GREY = Shape(1, 28, 28)


@dataclass(frozen=True)
class Info:
    name: str = "toy"
    image: Shape = GREY
    class_names: tuple[str, ...] = tuple("abcdefghij")
    num_train: int = 10_000


def task_of(image: Shape = GREY, recipe: str = "default", **settings: object) -> Task:
    return Task(
        data="toy",
        target=Target(image=image, classes=10),
        proxy=Proxy(**settings),  # type: ignore[arg-type]
        recipe=RECIPES[recipe],
        precision="float32",
        validation_images=2_000,
    )


# Settings and files


def test_json_and_yaml_read_back_to_an_equal_task() -> None:
    task = create_task(Info(), {"recipe": "paper", "proxy": {"width": 0.5}}, precision="bfloat16")
    assert Task.from_json(task.to_json()) == task
    assert Task.from_yaml(task.to_yaml()) == task
    assert Task.from_json(task.to_json()).fingerprint == task.fingerprint


def test_every_setting_changes_the_fingerprint() -> None:
    base = create_task(Info())
    changes: list[dict[str, object]] = [
        {"proxy": {"epochs": 5}},
        {"proxy": {"width": 0.5}},
        {"proxy": {"images": 100}},
        {"proxy": {"resolution": 14}},
        {"proxy": {"stem": "own"}},
        {"recipe": {"learning_rate": 0.123}},
        {"recipe": {"auxiliary": False}},
        {"validation_images": 7},
        {"eta": 3},
        {"target": {"classes": 11}},
    ]
    prints = {create_task(Info(), change).fingerprint for change in changes}
    assert len(prints | {base.fingerprint}) == len(changes) + 1
    assert create_task(Info(), precision="bfloat16").fingerprint != base.fingerprint


@pytest.mark.parametrize(
    ("recipe", "fingerprint"),
    [("default", "c314b97318c7a0e3"), ("paper", "7d133f293a7f2134")],
)
def test_recorded_tasks_keep_their_json_and_fingerprint(recipe: str, fingerprint: str) -> None:
    """Stored on the day before recipes got more fields: searches of before must resume."""
    task = task_of(recipe=recipe).model_copy(
        update={"data": "fashion-mnist-mini", "validation_images": 100}
    )
    assert task.fingerprint == fingerprint
    assert not {"cutout", "operations", "magnitude", "ema_decay"} & set(
        json.loads(task.to_json())["recipe"]
    )


@pytest.mark.parametrize(
    "change",
    [
        {"cutout": 0.5},
        {"operations": 1, "magnitude": 0.5},
        {"ema_decay": 0.99},
        {"schedule": {"kind": "cosine", "warmup": 0.1}},
    ],
)
def test_a_later_field_is_written_where_it_is_used(change: dict[str, object]) -> None:
    task = create_task(Info(), {"recipe": change})
    assert json.loads(task.to_json())["recipe"].items() >= change.items()
    assert Task.from_json(task.to_json()) == task
    assert task.fingerprint != create_task(Info()).fingerprint


@pytest.mark.parametrize(
    ("epochs", "eta", "rungs"),
    [(1, 2, (1,)), (4, 2, (1, 2, 4)), (6, 2, (1, 2, 4, 6)), (10, 3, (1, 3, 9, 10))],
)
def test_rungs(epochs: int, eta: int, rungs: tuple[int, ...]) -> None:
    task = create_task(Info(), {"proxy": {"epochs": epochs}, "eta": eta})
    assert task.rungs == rungs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proxy: {widht: 0.5}", "F: proxy.widht: is not a setting; remove it (value 0.5)"),
        ("proxy: {width: 0}", "F: proxy.width: Input should be greater than 0, not 0"),
        ("proxy: {epochs: '4'}", "F: proxy.epochs: Input should be a valid integer, not '4'"),
        ("proxy: 3", "F: proxy: Input should be"),
        ("eta: 1", "F: eta: Input should be greater than or equal to 2, not 1"),
        ("target: {image: [1, 0, 28]}", "F: target: image must hold numbers from 1 to 4096"),
        ("target: {classes: 9}", "F: target.classes: must be at least the 10 classes of toy"),
        ("target: {image: [3, 32, 32]}", "F: target.image: must have the 1 channels of toy, not 3"),
        ("data: other", "F: data: must be 'toy', not 'other'"),
        ("validation_images: 9999", "F: validation_images: must leave at least two"),
        ("recipe: papre", "F: recipe: must be one of default, paper, cifar, not 'papre'"),
        ("recipe: {momentum: 0.0}", "F: recipe: nesterov needs a momentum over 0"),
        ("recipe: {schedule: {kind: steps, factor: 2, epochs: 1}}", "F: recipe.schedule.factor: "),
        ("recipe: {schedule: {kind: sine}}", "F: recipe.schedule: "),
        ("recipe: {name: mine}", "F: recipe.batch_size: Field required"),
        ("recipe: {name: [1]}", "F: recipe.name: Input should be a valid string, not [1]"),
        ("recipe: {base: papre}", "F: recipe: base: must be one of default, paper, cifar, not"),
        ("recipe: {base: [1]}", "F: recipe: base: must be one of default, paper, cifar, not [1]"),
        ("recipe: {operations: 2}", "F: recipe: operations and magnitude go together: both over"),
        ("recipe: {ema_decay: 1}", "F: recipe.ema_decay: Input should be less than 1, not 1"),
        ("recipe: {learning_rate: .nan}", "F: recipe.learning_rate: "),
        ("- 1", "F: must be a mapping of settings, not [1]"),
        ("a: [", "F, line 1: "),
        ("a: !!python/object/apply:os.getcwd []", "F, line 1: could not determine"),
        ("data: 2020-01-01", "F: holds what JSON cannot: "),
    ],
)
def test_a_wrong_file_is_one_line_that_names_place_rule_and_value(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="^" + re.escape(message.replace("F", str(path), 1))) as e:
        create_task(Info(), read_task_file(path), source=str(path))
    assert "\n" not in str(e.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        read_task_file(path)


def test_truncated_json_is_refused() -> None:
    with pytest.raises(ValueError, match="not complete JSON"):
        Task.from_json(create_task(Info()).to_json()[:-5])


def test_a_recipe_may_be_named_or_changed() -> None:
    assert create_task(Info(), {"recipe": "paper"}).recipe == RECIPES["paper"]
    changed = create_task(Info(), {"recipe": {"name": "paper", "learning_rate": 0.5}}).recipe
    assert changed == RECIPES["paper"].model_copy(update={"learning_rate": 0.5})


def test_the_paper_recipe_is_the_papers() -> None:
    paper = RECIPES["paper"]
    assert (paper.momentum, paper.nesterov) == (0.9, False)
    assert paper.schedule == Steps(factor=0.96, epochs=8)
    assert (paper.auxiliary_weight, paper.dropout) == (0.3, 0.4)


# Defaults for a data set


def test_the_target_defaults_to_the_datas_own_image_and_classes() -> None:
    task = create_task(Info())
    assert task.target == Target(image=GREY, classes=10)
    assert task.proxy_image == GREY
    assert (task.proxy.stem, task.validation_images) == ("fastest", 2_000)


def test_a_large_target_is_trained_small_and_what_is_given_stays() -> None:
    info = Info(image=Shape(3, 224, 224))
    assert create_task(info).proxy_image == Shape(3, 96, 96)
    assert create_task(info).proxy.stem == "own"
    small = create_task(info, {"proxy": {"resolution": 48}})
    assert (small.proxy_image, small.proxy.stem) == (Shape(3, 48, 48), "fastest")
    own = create_task(Info(), {"proxy": {"stem": "own", "images": None}})
    assert (own.proxy.stem, own.proxy.images) == ("own", None)


def test_few_images_are_all_passed() -> None:
    task = create_task(Info(num_train=100))
    assert (task.validation_images, task.proxy.images) == (20, None)


# The proxy


@pytest.mark.parametrize(
    ("channels", "width", "scaled"),
    [(64, 0.25, 16), (16, 0.25, 4), (24, 0.25, 8), (23, 0.25, 4), (1, 0.25, 4), (7, 1.0, 7)],
)
def test_widths_are_scaled_to_multiples_of_four(channels: int, width: float, scaled: int) -> None:
    assert scaled_width(channels, width) == scaled


def test_the_proxy_keeps_the_shape_and_scales_every_width() -> None:
    a = googlenet()
    b = proxy(a, task_of(Shape(3, 224, 224)))
    assert [len(stage) for stage in b.stages] == [len(stage) for stage in a.stages]
    assert (b.reductions, b.norm, b.head) == (a.reductions, a.norm, a.head)
    assert [op.channels for op in b.stem if isinstance(op, Conv)] == [16, 16, 48]
    cell = b.stages[0][0]
    widths = [[op.channels for op in branch if isinstance(op, Conv)] for branch in cell.branches]
    assert widths == [[16], [24, 32], [4, 8], [8]]
    assert [(head.channels, head.hidden) for head in b.auxiliary] == [(32, 256), (32, 256)]
    assert b.auxiliary[0].pool == a.auxiliary[0].pool


def test_full_width_at_the_target_is_the_network_itself() -> None:
    for name, preset in PRESETS.items():
        a = preset()
        image = Shape(3, 224, 224) if name != "cifar_googlenet" else Shape(3, 32, 32)
        assert proxy(a, task_of(image, width=1.0)) == a


def test_a_large_stem_on_a_small_image_becomes_the_small_image_stem() -> None:
    b = proxy(googlenet(), task_of(Shape(3, 224, 224), resolution=32))
    # 7x7/2 64, max/2, 1x1 64, 3x3 192, max/2 at width 1/4:
    assert b.stem == (Conv((3, 3), 16, stride=2), Conv((1, 1), 16), Conv((3, 3), 48))
    sides = [shape.height for _, shape in cell_shapes(b, Shape(3, 32, 32))]
    assert (sides[0], sides[-1]) == (16, 4)


def test_stride_one_where_stride_two_leaves_too_little() -> None:
    # 16 pixels: 8, 4, 2 with stride 2. 8 pixels: 4, 2, 1 with stride 2; 8, 4, 2 with stride 1.
    target = Shape(3, 224, 224)
    for side, stride in ((16, 2), (8, 1)):
        b = proxy(googlenet(), task_of(target, resolution=side))
        assert [op.stride for op in b.stem] == [stride, 1, 1]
        assert cell_shapes(b, Shape(3, side, side))[-1][1].height == 2


def test_the_fastest_stem_divides_most() -> None:
    a = cifar_googlenet()
    assert proxy(a, task_of()).stem[0].stride == 1
    assert proxy(a, task_of(stem="fastest")).stem[0].stride == 2
    large = Shape(3, 224, 224)
    own = proxy(googlenet(), task_of(large, width=1.0, stem="fastest"))
    assert own.stem == googlenet().stem


def test_what_never_fits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 reductions no stem leaves 2 pixels a side of a 4x4"):
        proxy(cifar_googlenet(), task_of(resolution=4))
    with pytest.raises(ValueError, match="does not fit a map of"):
        proxy(googlenet(), task_of(Shape(3, 20, 20), resolution=224))


def test_auxiliary_pooling_is_adapted_to_the_smaller_map() -> None:
    target = Shape(3, 224, 224)
    at_7 = proxy(googlenet(), task_of(target, resolution=28))  # 14, 7, 4
    assert [head.pool for head in at_7.auxiliary] == [AdaptivePool(4), AdaptivePool(4)]
    conv = Cell(branches=((Conv((3, 3), 8),),))
    a = Architecture(
        stem=(),
        stages=((conv,), (conv,)),
        reductions=(Pool("max", 3, 2),),
        auxiliary=(AuxiliaryHead(1, 0, pool=AdaptivePool(6)),),
    )
    b = proxy(a, task_of(resolution=6))
    assert b.auxiliary[0].pool == AdaptivePool(3)
    check(b, Shape(1, 6, 6))


def test_the_recipe_sets_dropout_and_auxiliary_heads() -> None:
    large = Shape(3, 224, 224)
    a = replace(googlenet(), head=Head(dropout=0.1))
    assert proxy(a, task_of(large)).head.dropout == 0.1
    paper = proxy(a, task_of(large, recipe="paper"))
    assert paper.head.dropout == 0.4
    assert {head.weight for head in paper.auxiliary} == {0.3}
    bare = task_of(large).model_copy(
        update={"recipe": RECIPES["default"].model_copy(update={"auxiliary": False})}
    )
    assert proxy(a, bare).auxiliary == ()


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_presets_proxy_fits_its_image(name: str) -> None:
    image = Shape(3, 32, 32) if name == "cifar_googlenet" else Shape(3, 299, 299)
    for resolution in (28, 32, 64, 96):
        task = task_of(image, resolution=resolution, stem="fastest")
        b = proxy(PRESETS[name](), task)
        check(b, task.proxy_image)
        assert proxy(PRESETS[name](), task) == b
