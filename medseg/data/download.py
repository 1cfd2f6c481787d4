"""Fetch a data set, verified by its md5, and find it again."""

import logging
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from medseg.data.catalog import DATASETS
from medseg.data.layouts import LAYOUTS, layout_of
from medseg.data.msd import is_msd
from medseg.errors import InputError

# The environment variable that names the folder with the data sets in it.
VARIABLE = "MEDSEG_DATA"


def find_dataset(name: str) -> Path:
    """Folder of a data set below $MEDSEG_DATA.

    Raises:
        InputError: the variable is not set, or there is no such data set below it; says how to get it.
    """
    root = os.environ.get(VARIABLE, "")
    if not root:
        raise InputError(
            f"{name} cannot be looked for",
            expected=f"the environment variable {VARIABLE}, a folder that holds {name}",
            got=f"{VARIABLE} is not set",
            do=f"{_how_to_get(name)}; then set {VARIABLE} to the folder that holds {name}",
        )
    folder = Path(root).expanduser() / name
    if layout_of(folder) is None:
        wanted = LAYOUTS.get(name.rstrip("0123456789"), LAYOUTS["Decathlon"]).looks_like
        raise InputError(
            f"{name} is missing",
            expected=f"{folder} with {wanted}",
            got="a folder without these" if folder.is_dir() else "no such folder",
            do=_how_to_get(name),
        )
    return folder


def download(name: str, folder: Path, progress: bool = False) -> Path:
    """Download a Decathlon task into `folder`, check its md5, unpack it, and return its own folder.

    The address and the checksum are those of MONAI's DecathlonDataset. The archive is unpacked into a
    temporary folder beside the target and renamed, so an interrupted run leaves no half data set. An
    archive `<name>.tar` that lies in `folder` already is checked and used, and stays.

    Args:
        name: a data set of the catalog that has a download.
        folder: where the data set's folder is made; created if needed.
        progress: show the downloader's progress bar.

    Raises:
        InputError: an unknown name, data already there, or a download that fails or has another md5.
    """
    card = DATASETS.get(name)
    if card is None or card.md5 is None:
        raise InputError(
            f"there is no download for {name}",
            expected="one of " + ", ".join(key for key, known in DATASETS.items() if known.md5),
            got=name,
            do=_how_to_get(name) if card else "choose one of these, or fetch the data from its publisher",
        )
    folder = Path(folder)
    target = folder / name
    if target.exists():
        raise InputError(
            f"{target} is there already",
            expected="a folder without this data set",
            got="files of an earlier download" if target.is_dir() else "a file of this name",
            do=f"use it (set {VARIABLE} to {folder}), or move it away first",
        )
    import medseg.compat  # noqa: F401  isort: skip
    from monai.apps import DecathlonDataset
    from monai.apps.utils import download_url, extractall

    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder))
    kept = folder / f"{name}.tar"
    archive = kept if kept.exists() else work / f"{name}.tar"
    logger = logging.getLogger("monai.apps")
    quiet, logger.disabled = logger.disabled, True  # it would write to standard output
    try:
        download_url(
            DecathlonDataset.resource[name], archive, hash_val=card.md5, hash_type="md5", progress=progress
        )
        extractall(archive, work)
        if not is_msd(work / name):
            raise RuntimeError(f"the archive holds no {name}/dataset.json")
        os.replace(work / name, target)
    except (OSError, RuntimeError, ValueError, tarfile.TarError) as error:
        raise InputError(
            f"{name} could not be downloaded",
            expected=f"an archive with md5 {card.md5}",
            got=f"{type(error).__name__}: {error}",
            do=f"check the network and the free space, remove {kept.name} if it is there, and try again",
        ) from error
    finally:
        logger.disabled = quiet
        shutil.rmtree(work)
    return target


def _how_to_get(name: str) -> str:
    card = DATASETS.get(name)
    if card is not None and card.md5 is not None:
        return f"medseg data download {name} FOLDER"
    if name.startswith("Phantom") and card is not None:
        return f"medseg data phantom FOLDER/{name} --cases 12 --seed 1"
    return f"fetch it from its publisher ({card.source})" if card else "fetch it from its publisher"
