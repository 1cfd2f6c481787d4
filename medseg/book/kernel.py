"""The kernel of a page, in a process that ends with the one that started it.

Run as a file, not as a module: it needs nothing of medseg. A worker that is killed cannot stop its kernel,
and one that lives on would write beside the page's next attempt. Linux ends it at once; elsewhere ipykernel
itself looks every second whether its parent is there.
"""

import ctypes
import os
import signal
import sys

_SET_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG in <linux/prctl.h>


def end_with_parent(parent: int) -> None:
    """Have this process killed when the thread that started it ends.

    Args:
        parent: id of the process that started this one: it may be gone already.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_SET_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    if "JPY_PARENT_PID" in os.environ:
        end_with_parent(int(os.environ["JPY_PARENT_PID"]))
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
