"""Download through MONAI's own function from a local archive: verified, whole or not there, never twice."""

import hashlib
import io
import json
import tarfile

import pytest

from medseg.data import download as module
from medseg.data.download import download, find_dataset
from medseg.errors import InputError

NAME = "Task04_Hippocampus"


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A small archive with the official layout behind a file address, and a card with its md5."""
    import medseg.compat  # noqa: F401  isort: skip
    from monai.apps import DecathlonDataset

    archive = tmp_path / "served" / f"{NAME}.tar"
    archive.parent.mkdir()
    with tarfile.open(archive, "w") as tar:
        for name, content in {
            f"{NAME}/dataset.json": json.dumps({"training": []}).encode(),
            f"{NAME}/imagesTr/hippocampus_001.nii.gz": b"voxels",
            f"{NAME}/imagesTr/._hippocampus_001.nii.gz": b"macos",
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(module.DATASETS, NAME, module.DATASETS[NAME].model_copy(update={"md5": md5}))
    monkeypatch.setitem(DecathlonDataset.resource, NAME, archive.as_uri())
    return archive


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(words, call, *arguments):
    with pytest.raises(InputError, match=words) as caught:
        call(*arguments)
    assert caught.value.expected and caught.value.got and caught.value.do
    return caught.value


def test_download_unpacks_the_data_set_and_nothing_else(served, tmp_path, monkeypatch, capfd):
    target = tmp_path / "data"
    folder = download(NAME, target)
    assert folder == target / NAME and names(target) == [NAME]
    assert (folder / "imagesTr" / "hippocampus_001.nii.gz").read_bytes() == b"voxels"
    monkeypatch.setenv("MEDSEG_DATA", str(target))
    assert find_dataset(NAME) == folder
    assert capfd.readouterr() == ("", "")


def test_data_that_is_there_is_not_touched(served, tmp_path):
    own = tmp_path / "data" / NAME
    own.mkdir(parents=True)
    (own / "own.txt").write_text("mine")
    refused("already", download, NAME, tmp_path / "data")
    assert names(own) == ["own.txt"]


def test_an_archive_that_is_there_is_used_and_kept(served, tmp_path):
    target = tmp_path / "data"
    target.mkdir()
    served.rename(target / f"{NAME}.tar")
    download(NAME, target)
    assert names(target) == [NAME, f"{NAME}.tar"]


def test_another_checksum_is_refused_and_leaves_nothing(served, tmp_path):
    served.write_bytes(served.read_bytes() + b"more")
    assert "md5" in refused("could not be downloaded", download, NAME, tmp_path / "data").got
    assert names(tmp_path / "data") == []


def test_an_address_that_does_not_answer_is_refused_and_leaves_nothing(served, tmp_path):
    served.unlink()
    refused("could not be downloaded", download, NAME, tmp_path / "data")
    assert names(tmp_path / "data") == []


def test_an_archive_without_the_data_set_is_refused(served, tmp_path, monkeypatch):
    with tarfile.open(served, "w") as tar:
        tar.addfile(tarfile.TarInfo("other/readme"), io.BytesIO(b""))
    md5 = hashlib.md5(served.read_bytes()).hexdigest()
    monkeypatch.setitem(module.DATASETS, NAME, module.DATASETS[NAME].model_copy(update={"md5": md5}))
    refused("could not be downloaded", download, NAME, tmp_path / "data")
    assert names(tmp_path / "data") == []


@pytest.mark.parametrize("name", ["Task99_Nothing", "Phantom", "ACDC"])
def test_names_without_a_download_are_refused(name, tmp_path):
    assert "Task04_Hippocampus" in refused("no download", download, name, tmp_path).expected


def test_find_says_how_to_get_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDSEG_DATA", raising=False)
    assert "medseg data download" in refused("cannot be looked for", find_dataset, NAME).do
    monkeypatch.setenv("MEDSEG_DATA", str(tmp_path))
    assert refused("missing", find_dataset, NAME).got == "no such folder"
    (tmp_path / NAME).mkdir()
    missing = refused("missing", find_dataset, NAME)
    assert "without" in missing.got and "dataset.json" in missing.expected
    assert "data phantom" in refused("missing", find_dataset, "Phantom").do
    acdc = refused("missing", find_dataset, "ACDC")
    assert "creatis" in acdc.do and "patient001" in acdc.expected


def test_find_takes_every_layout(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_DATA", str(tmp_path))
    (tmp_path / "ACDC" / "training" / "patient001").mkdir(parents=True)
    assert find_dataset("ACDC") == tmp_path / "ACDC"
