"""Segmenting picture files into mask files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from workbench.datasets.base import to_tensor
from workbench.datasets.images import read_image
from workbench.errors import DataError
from workbench.inference.class_sets import fitted
from workbench.inference.loading import load_model
from workbench.inference.predict import predict_labels
from workbench.progress import progress
from workbench.runs import RunDirectory, write_mask
from workbench.runs.class_file import read_class_file


def predict_files(
    run: RunDirectory,
    images: Sequence[Path],
    out: Path,
    *,
    checkpoint: Literal["last", "best"] | int = "last",
    class_file: Path | None = None,
) -> dict[str, Any]:
    """Writes ``OUT/<name>.png`` for every picture: 16-bit train ids, the picture's own size.

    Args:
        run: With a checkpoint.
        images: Picture files with different names.
        out: Folder for the masks, made if it is missing.
        checkpoint: Which weights.
        class_file: Its classes take the place of the run's own; ids are then those of the file.

    Returns:
        "masks" (paths as text), "classes" (how many different classes were found).

    Raises:
        DataError: A picture cannot be read, two of them would write the same mask, or the
            class file is damaged or of another model.
        RunError: The run has no such checkpoint.
    """
    names = Counter(path.stem for path in images)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise DataError(f"{out}/{twice[0]}.png: two pictures have this name; predict them apart")
    pictures = {path.resolve() for path in images}
    for path in images:
        for suffix in (".png", ".tiff"):
            if (out / f"{path.stem}{suffix}").resolve() in pictures:
                raise DataError(
                    f"{out / path.stem}{suffix}: the mask would replace the picture; "
                    "choose another --out"
                )
    missing = [path for path in images if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: no such picture")
    chosen = None if class_file is None else read_class_file(class_file)
    model, _ = load_model(run, checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device)
    classes = None if chosen is None else fitted(chosen, model, label=str(class_file))
    out.mkdir(parents=True, exist_ok=True)
    masks, found = [], set()
    for path in progress(images, description="predict", unit="img"):
        picture = to_tensor(read_image(path))
        labels = predict_labels(model, picture[None].to(device), classes=classes)[0].cpu().numpy()
        found.update(set(labels.ravel().tolist()))
        masks.append(str(write_mask(out / path.stem, labels)))
    return {"masks": masks, "classes": len(found)}
