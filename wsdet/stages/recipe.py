"""`Recipe`: a part of a run (a localizer, a proposal source, ...) that is built when what it needs has been made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsdet.formats.contents import file_name
from wsdet.tiles import Tiling

_IN_TILES = 2000  # proposals that a localizer looks at: it compares each with each, 16 MB for every matrix of them


@dataclass(frozen=True)
class Recipe:
    """What a part is called, what describes it, and how it is built.

    Attributes:
        name: of the choice, as in `localizer=NAME`; names the folder of its results.
        settings: `_target_` and its arguments as plain JSON values: what results depend on.
        kind: "localizer", "proposals", ...: begins the messages about its arguments.
        make: builds an object from settings; takes them, `kind`, and further arguments by keyword.
    """

    name: str
    settings: Mapping[str, Any]
    kind: str
    make: Callable[..., Any]

    def build(self, **made: Any) -> Any:
        """The object, with the arguments `made` in place of those of the settings.

        Raises:
            InputError: an argument is not possible.
        """
        return self.make({key: value for key, value in self.settings.items() if key not in made}, self.kind, **made)

    def part(self, key: str, name: str) -> Recipe:
        """The recipe inside this one under `key`, by a name of its own."""
        return replace(self, name=name, settings=self.settings[key], kind=f"{self.kind}.{key}")

    def changed(self, **settings: Any) -> Recipe:
        """The same with other settings."""
        return replace(self, settings={**self.settings, **settings})


def with_localized(recipe: Recipe, localized: Callable[[Recipe], Path]) -> Recipe:
    """A proposal source's recipe in which every part with a `localizer` has the files of that localizer's boxes.

    Args:
        recipe: of the source.
        localized: runs a localizer now, and gives the folder of its boxes.
    """

    def with_files(part: Any) -> Any:
        if not isinstance(part, Mapping):
            return part
        if "localizer" not in part:
            return {key: with_files(value) for key, value in part.items()}
        name = file_name(str(part["name"]))
        folder = localized(Recipe(name, part["localizer"], "localizer", recipe.make))
        return {key: value for key, value in part.items() if key not in ("name", "localizer")} | {"path": str(folder)}

    return replace(recipe, settings=with_files(recipe.settings))


def in_tiles(settings: Mapping[str, Any], tiling: Tiling) -> dict[str, Any]:
    """A proposal source's settings with tiles around it, or a localizer's with tiles around each of its sources.

    A localizer then looks at more boxes of its source: as many, of the image and of each tile, as make `_IN_TILES`
    together. Boxes that come from files or from a localizer stay as they are.
    """
    tiles = {"_target_": "wsdet.proposals.tiles.Tiles", "tile": tiling.side, "tile_overlap": tiling.overlap}
    target = str(settings.get("_target_", ""))
    if target in (tiles["_target_"], "wsdet.proposals.files.Files"):
        return dict(settings)
    if target.startswith("wsdet.proposals."):
        return {**tiles, "source": dict(settings)}
    changed = {key: in_tiles(part, tiling) for key, part in settings.items() if isinstance(part, Mapping)}
    more = {"n_proposals": _IN_TILES} if "source" in settings and "n_proposals" in settings else {}
    return {**settings, **changed, **more}
