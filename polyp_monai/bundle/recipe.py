"""The configs that all bundles share, kept once in `bundles/recipe/` and copied into each, so that a bundle is whole.

`python -m polyp_monai.bundle.recipe` renews the copies; a test fails while one differs.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from polyp_monai.bundle.locate import shipped


def stale_copies() -> list[tuple[Path, Path]]:
    """(recipe's file, bundle's file) for each copy that is missing or differs."""
    pairs = []
    for bundle in shipped().values():
        recipe = bundle.parent / "recipe"
        for source in sorted(p for p in recipe.rglob("*") if p.is_file()):
            copy = bundle / source.relative_to(recipe)
            if not copy.is_file() or copy.read_bytes() != source.read_bytes():
                pairs.append((source, copy))
    return pairs


if __name__ == "__main__":
    for source, copy in stale_copies():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        print(f"renewed {copy}")
