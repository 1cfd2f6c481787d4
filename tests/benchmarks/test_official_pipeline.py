import nibabel as nib
import numpy as np
import torch

from benchmarks.official_pipeline import transforms, write_slices
from benchmarks.plain_loop import IMAGE, LABEL
from medseg.config import resolve
from medseg.data.layouts import read_folder
from medseg.data.phantoms import write_phantoms
from medseg.data.volume import read
from medseg.data.windows import window_indices


def test_one_file_a_slice_with_its_neighbours(tmp_path):
    folder, slices_in = tmp_path / "Phantom", tmp_path / "slices"
    slices_in.mkdir()
    write_phantoms(folder, 1, seed=1)
    (case,) = read_folder(folder)[1]
    volume = read(case.image, case.labels)
    write_slices([case], slices_in, slices=5)
    depth = volume.labels.shape[0]
    assert len(list(slices_in.iterdir())) == 2 * depth
    for center in (0, 3, depth - 1):
        image, label = (
            np.asarray(nib.load(slices_in / f"{case.id}_{center:03d}_{name}.nii").dataobj)
            for name in (IMAGE, LABEL)
        )
        wanted = window_indices(center, 5, depth)
        np.testing.assert_array_equal(np.moveaxis(image, -1, 0), volume.array[0, wanted])
        np.testing.assert_array_equal(np.moveaxis(label, -1, 0), volume.labels[wanted])
    small = {"weights": None, "image_px": 32, "classes": 4}
    prepared = transforms(resolve("full", {"model": small}))
    files = {name: str(slices_in / f"{case.id}_003_{name}.nii") for name in (IMAGE, LABEL)}
    window = prepared(files)
    assert window[IMAGE].shape == (5, 32, 32) and window[LABEL].shape == (1, 32, 32)
    assert window[LABEL].dtype == torch.long
    assert set(window[LABEL].unique().tolist()) <= set(np.unique(volume.labels).tolist())
    # The clip lies above the phantom's range, so what is left is near the low end, moved by at most 0.1.
    assert float(window[IMAGE].min()) >= -0.1001 and float(window[IMAGE].max()) <= 1.1001
