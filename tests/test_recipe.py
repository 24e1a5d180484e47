"""Recipe files: what they leave out, what they may not hold; and the recipes that are shipped."""

import re
from pathlib import Path

import pytest

from nas.task import RECIPES, Cosine, read_recipe


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_a_file_changes_the_recipe_that_it_names_as_base(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, "base: cifar\nbatch_size: 64\n"))
    assert recipe == RECIPES["cifar"].model_copy(update={"name": "mine", "batch_size": 64})


def test_without_base_and_name_it_changes_the_default_recipe(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, "schedule: {kind: cosine, warmup: 0.2}\n"))
    schedule = {"name": "mine", "schedule": Cosine(warmup=0.2)}
    assert recipe == RECIPES["default"].model_copy(update=schedule)


def test_a_known_name_is_its_own_base_as_in_a_task(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, "name: paper\ncutout: 0.25\n"))
    assert recipe == RECIPES["paper"].model_copy(update={"cutout": 0.25})


def test_what_a_recipe_writes_can_be_read_back(tmp_path: Path) -> None:
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        text = recipe.model_dump_json()
        assert read_recipe(write(tmp_path, text)) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_sise: 3", "F: batch_sise: is not a setting; remove it (value 3)"),
        ("batch_size: 1", "F: batch_size: Input should be greater than or equal to 2, not 1"),
        ("schedule: {kind: cosine, warmup: 1}", "F: schedule.warmup: Input should be less than 1"),
        ("base: cifarr", "F: base: must be one of default, paper, cifar, not 'cifarr'; did you"),
        ("name: mine", "F: batch_size: Field required"),
        ("operations: 13\nmagnitude: 0.1", "F: operations: Input should be less than or equal"),
        ("magnitude: 0.5", "F: operations and magnitude go together: both over 0, or both 0, not"),
        ("- 1", "F: must be a mapping of settings, not [1]"),
        ("a: !!python/object/apply:os.getcwd []", "F, line 1: could not determine"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_place_rule_and_value(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match="^" + re.escape(message.replace("F", str(path), 1))) as e:
        read_recipe(path)
    assert "\n" not in str(e.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_recipe(tmp_path / "none.yaml")
