"""A run that asks for more memory than this process may have (`limited_memory.py DATA RUN_DIR`)."""

import resource
import sys
from pathlib import Path

from medseg.config import resolve
from medseg.errors import OutOfMemory
from medseg.studies.run import open_data, run_one

ROOM_BYTES = 10**9
MODEL = {"encoder": "test_vit", "taps": (1, 2, 3, 5), "image_px": 64, "slices": 3, "decoder_channels": 256}
CONFIG = resolve("smoke", {"model": MODEL, "train": {"steps": 2, "batch": 256, "precision": "fp32"}})


def main():
    data = open_data(Path(sys.argv[1]), split_seed=1234)
    # Address space in pages, the first number of the line.
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM_BYTES, taken + ROOM_BYTES))
    try:
        run_one(CONFIG, data, Path(sys.argv[2]))
    except OutOfMemory as error:
        print(error)


if __name__ == "__main__":
    main()
