"""The configs that all bundles share, kept once in `bundles/recipe/` and copied into each, so that a bundle is whole.

`python -m polyp_monai.bundle.recipe` renews the copies; a test fails while one differs.
"""

from __future__ import annotations

from pathlib import Path

from polyp_monai.bundle.locate import shipped

HEADER = "# Copied from bundles/recipe/{name} by `make recipe`, which renews the copies of all shipped bundles.\n"


def stale_copies() -> dict[Path, str]:
    """File of a bundle -> what it must hold, for each copy that is missing or differs."""
    stale = {}
    for bundle in shipped().values():
        recipe = bundle.parent / "recipe"
        for source in sorted(p for p in recipe.rglob("*") if p.is_file()):
            copy, text = bundle / source.relative_to(recipe), copied(source, recipe)
            if not copy.is_file() or copy.read_text(encoding="utf-8") != text:
                stale[copy] = text
    return stale


def copied(source: Path, recipe: Path) -> str:
    """What a copy of the recipe's file `source` holds; a config says in its first line that it is one."""
    name = source.relative_to(recipe).as_posix()
    header = HEADER.format(name=name) if name.startswith("configs/") else ""
    return header + source.read_text(encoding="utf-8")


if __name__ == "__main__":
    for path, content in stale_copies().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(f"renewed {path}")
