"""A tiny book with the project's own settings and scripts, for tests of the build and the browser."""

import shutil
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[2]

# A box in noise on an oblique, anisotropic grid, with a reference and a shifted prediction.
VIEWER_CELL = """
import tempfile
from pathlib import Path
import nibabel as nib
import numpy as np
from medseg.data.volume import read
from medseg.reports.viewer import show

rng = np.random.default_rng(0)
labels = np.zeros((40, 36, 14), np.uint8)
labels[10:22, 8:24, 4:9] = 1
labels[22:30, 12:24, 5:10] = 2
image = (rng.normal(0, 8, labels.shape) + np.array([60, 120, 180])[labels]).astype(np.float32)
affine = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.1, 0.05, 0.2) @ np.diag([1.0, 1.0, 2.5]), [-20, -18, -15])
folder = Path(tempfile.mkdtemp())
nib.save(nib.Nifti1Image(image, affine), folder / "box.nii.gz")
nib.save(nib.Nifti1Image(labels, affine), folder / "box_labels.nii.gz")
volume = read(folder / "box.nii.gz", folder / "box_labels.nii.gz")
prediction = np.roll(volume.labels, (1, 2), axis=(0, 1))
show(volume, prediction=prediction, names={1: "anterior <a>", 2: "posterior"}, title="A box & its shadow")
"""


def notebook(*cells: str, parameters: str = 'profile = "smoke"') -> nbformat.NotebookNode:
    """A notebook with a heading, a `parameters` cell and the code cells given; ids are fixed."""
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# A page"), first, *map(nbformat.v4.new_code_cell, cells)]
    )
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"
    return made


def write_book(root: Path, **pages: nbformat.NotebookNode) -> Path:
    """Write a book with an introduction and the given notebooks; gives its root."""
    (root / "notebooks").mkdir(parents=True)
    shutil.copytree(ROOT / "book" / "_assets", root / "book" / "_assets")
    shutil.copyfile(ROOT / "_config.yml", root / "_config.yml")
    (root / "book" / "references.bib").write_text(
        "@article{box2020, author={Box, B.}, title={On boxes}, journal={Journal of Boxes}, year={2020}}\n"
    )
    (root / "book" / "intro.md").write_text(
        "# Introduction\n\nAn equation, $a^2$, and a citation {cite:t}`box2020`.\n\n```{bibliography}\n```\n"
    )
    for name, page in pages.items():
        nbformat.write(page, root / "notebooks" / f"{name}.ipynb")
    toc = {
        "format": "jb-book",
        "root": "book/intro",
        "chapters": [{"file": f"notebooks/{name}"} for name in pages],
    }
    (root / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
    return root
