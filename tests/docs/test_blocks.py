"""Every command and every piece of Python in README.md and docs/ does what the page says."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pytest

from tests.docs import blocks
from tests.docs.blocks import PAGES, Block
from tests.docs.conftest import run

LANGUAGES = {"sh", "python", "text", "yaml", "json"}


def names(pages: list[Path]) -> list[str]:
    return [page.name for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_block_says_its_language(page):
    assert [str(block) for block in blocks.blocks(page) if block.language not in LANGUAGES] == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_python_can_be_read(page):
    for block in blocks.blocks(page):
        if block.language == "python":
            ast.parse(block.text, str(block))


def test_what_is_not_run_stands_in_a_page():
    every = [line for page in PAGES for block in blocks.blocks(page) for line in blocks.commands(block.text)]
    needed = {blocks.reason_not_to_run(line) for line in every}
    assert blocks.NOT_RUN.keys() - needed == set()


@pytest.mark.parametrize(
    ("command", "short"),
    [
        ("polyp predict unet a.jpg --out masks", None),
        ("polyp train unet --epoch 20", "polyp train unet {short} --epoch 20"),
        ("polyp train unet --data a --epochs 60 --out b", "polyp train unet {short} --data a --out b"),
        ("polyp sweep unet --data a --epochs 30", "polyp sweep unet {short} --data a"),
        ("polyp train unet --image-size=128 --data a", "polyp train unet {short} --data a"),
        (
            "python -m monai.bundle run --config_file configs/train.yaml --dataset_dir a",
            "python -m monai.bundle run --config_file configs/train.yaml {short} --dataset_dir a",
        ),
        (
            "torchrun -m monai.bundle run --config_file \"['configs/train.yaml','configs/multi_gpu_train.yaml']\" -a",
            "torchrun -m monai.bundle run --config_file \"['configs/train.yaml','configs/multi_gpu_train.yaml']\""
            " {short} -a",
        ),
    ],
)
def test_trainings_are_cut_short_and_nothing_else(command, short):
    options = " ".join(f"--{key} {value}" for key, value in blocks.SHORT.items())
    assert blocks.shortened(command) == (short or command).format(short=options)


def clear_what_the_page_makes(home: Path, page: Path) -> None:
    """What a page says it writes, a set, masks or a bundle, is not there yet."""
    text = "\n".join(blocks.script(block) for block in blocks.blocks(page) if block.language == "sh")
    for folder in re.findall(r"--out ([\w/]+)", text):
        shutil.rmtree(home / folder, ignore_errors=True)
    if re.search(r"polyp train unet (?!.*--out)", text):
        shutil.rmtree(home / "runs/unet", ignore_errors=True)


def execute(block: Block, home: Path, environment: dict[str, str]) -> None:
    if block.language == "sh":
        command = blocks.script(block)
    elif name := blocks.file_named_before(block):
        (home / name).write_text(block.text)
        command = f"python -c 'import {Path(name).stem}'"
    else:
        (home / "block.py").write_text(block.text)
        command = "python block.py"
    result = run(command, home, environment)
    assert result.returncode == 0, f"{block}\n{command}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_a_page_does_what_it_says(page, prepared, environment, tmp_path):
    pytest.importorskip("av")
    runnable = [b for b in blocks.blocks(page) if b.language == "python" or (b.language == "sh" and blocks.script(b))]
    if not runnable:
        pytest.skip("nothing to run")
    home = Path(shutil.copytree(prepared, tmp_path / "home", symlinks=True))
    clear_what_the_page_makes(home, page)
    for block in runnable:
        execute(block, home, environment)
