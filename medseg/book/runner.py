"""Run one page: papermill in this process, the kernel in this very Python."""

import ast
import copy
import logging
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

from medseg.errors import InputError
from medseg.files import write_atomic

_KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
_KERNEL_FILE = Path(__file__).with_name("kernel.py")
_START_S = 180  # a kernel on a machine that is busy with a training starts late, but it starts


class PageError(RuntimeError):
    """A page did not run, or the book did not build."""


def run_notebook(
    source: Path,
    target: Path,
    parameters: Mapping[str, Any],
    timeout_s: int | float = 600,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Execute a notebook with parameters and write it, with its outputs, to `target`.

    The kernel runs the Python of this process, whatever kernels are registered. Times, machine paths and
    widget state are left out of the result, so that equal runs give equal files. What the page writes to
    temporary files and folders goes with the run.

    Args:
        source: the notebook, with one cell tagged `parameters`.
        target: the executed notebook. On failure it is not touched; what ran until then is kept beside it
            with the suffix `.failed.ipynb`.
        parameters: values for names that the `parameters` cell assigns.
        timeout_s: the longest time for one cell, in seconds, rounded up.
        cwd: the working directory of the kernel; the folder of `source` when None.
        env: environment variables of the kernel beside those of this process.

    Raises:
        InputError: a parameter that the page does not know, or a notebook that cannot be read.
        PageError: a cell failed or took too long, or the kernel died.
    """
    source, target = Path(source), Path(target)
    failed = target.with_suffix(".failed.ipynb")
    # A process of the page that has not ended yet may still write while the folder is removed.
    temporary = tempfile.TemporaryDirectory(prefix="medseg-page-", ignore_cleanup_errors=True)
    with temporary as folder, _jupyter_in(Path(folder)):
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        settings = {"TMPDIR": str(scratch), **(env or {})}
        prepared, running = Path(folder) / "prepared.ipynb", Path(folder) / "running.ipynb"
        prepared.write_text(nbformat.writes(_read(source)), encoding="utf-8")
        changed = _changed_parameters(source.name, prepared, parameters)
        problem = _execute(prepared, running, changed, timeout_s, cwd or source.parent, settings)
        notebook = nbformat.read(running, as_version=4) if running.exists() else None
    if problem is None:
        assert notebook is not None
        write_atomic(target, nbformat.writes(_cleaned(notebook)) + "\n")
        failed.unlink(missing_ok=True)
        return
    kept = "nothing was kept"
    if notebook is not None:
        write_atomic(failed, nbformat.writes(notebook) + "\n")
        kept = f"what ran is kept in {failed}"
    raise PageError(f"{source.name}: {_place(notebook)}{problem}; {kept}")


def _execute(
    prepared: Path,
    running: Path,
    parameters: Mapping[str, Any],
    timeout_s: int | float,
    cwd: Path,
    env: Mapping[str, str],
) -> str | None:
    """Run the page and return what went wrong in one line, or None."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    log = running.with_name("kernel.log")
    # A logger without any handler prints its warnings: what went wrong is said by the error instead.
    logging.getLogger("papermill").addHandler(logging.NullHandler())
    try:
        papermill.execute_notebook(
            str(prepared),
            str(running),
            parameters=dict(parameters),
            kernel_name=_KERNEL["name"],
            language=_KERNEL["language"],
            progress_bar=False,
            cwd=str(cwd),
            start_timeout=_START_S,
            execution_timeout=max(1, math.ceil(timeout_s)),
            store_widget_state=False,
            shutdown_kernel="immediate",  # asked to end, one that trained takes seconds and adds nothing
            kernel_manager_class=_kernel_manager(running.with_name("kernel.json"), log, env),
        )
    except papermill.PapermillExecutionError as error:
        return f"{_raising_line(error.traceback)}{error.ename}: {_first_line(error.evalue)}"
    except CellTimeoutError:
        return f"the cell took longer than {timeout_s:g} s"
    except DeadKernelError:
        return f"the kernel died (out of memory, or its process was ended){_last_words(log)}"
    except RuntimeError as error:  # nbclient's word for a kernel that never answered
        return f"the kernel did not start: {_first_line(str(error))}{_last_words(log)}"
    return None


def _kernel_manager(connection: Path, log: Path, env: Mapping[str, str]) -> type:
    """A kernel manager that starts this Python with its connection file and log where it is told."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(AsyncKernelManager):
        def __init__(self, **kwargs: Any):
            # Without folders only ipykernel's own spec is left, whatever the user has registered.
            specs = KernelSpecManager(kernel_dirs=[])
            super().__init__(kernel_spec_manager=specs, connection_file=str(connection), **kwargs)
            if os.name != "nt":
                # Sockets in the folder instead of open ports: nothing else on the machine can meet them.
                self.transport, self.ip = "ipc", str(connection.with_suffix(""))

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            # In place of ipykernel's own starter: ours ends with this process.
            return [sys.executable, str(_KERNEL_FILE), "-f", self.connection_file, *(extra_arguments or ())]

        async def start_kernel(self, **kwargs: Any) -> None:  # type: ignore[override]
            with log.open("ab") as stream:
                settings = {"env": {**os.environ, **env}, "stdout": stream, "stderr": stream}
                await super().start_kernel(**{**kwargs, **settings})

    return ThisPython


@contextmanager
def _jupyter_in(folder: Path) -> Iterator[None]:
    """Point Jupyter and IPython at an empty folder: no user settings come in, no history goes out."""
    settings = {
        "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _read(source: Path) -> nbformat.NotebookNode:
    """The notebook, with this kernel in the place of whatever kernel its author had."""
    try:
        notebook = nbformat.read(source, as_version=4)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source} cannot be read as a notebook",
            expected="a .ipynb file",
            got=_first_line(str(error)),
            do="check the path and the file",
        ) from error
    notebook.metadata["kernelspec"] = dict(_KERNEL)
    return notebook


def _changed_parameters(page: str, prepared: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse unknown parameters, and leave out those that repeat the page's own value.

    Papermill adds a cell for what it is given: without this a page would state its defaults twice.
    """
    import papermill

    # Papermill only warns about an unknown name, and the page then runs with its defaults.
    known = papermill.inspect_notebook(str(prepared))
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise InputError(
            f"{page} does not know the parameter {', '.join(unknown)}",
            expected=f"one of: {', '.join(sorted(known)) or 'none (no cell is tagged `parameters`)'}",
            got=", ".join(unknown),
            do="correct the name, or assign it in the page's `parameters` cell",
        )
    return {
        name: value for name, value in parameters.items() if not _is_literal(known[name]["default"], value)
    }


def _is_literal(source: str, value: Any) -> bool:
    """Whether the source text is this very value, type included (1 is not True)."""
    try:
        found = ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return False
    return type(found) is type(value) and found == value


def _cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy without papermill's times, paths and random ids."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for name in ("papermill", "execution", "widgets"):
            cell.metadata.pop(name, None)
    # The cell that papermill adds has a random id.
    for number, cell in enumerate(notebook.cells):
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = f"injected-parameters-{number}"
    return notebook


def _place(notebook: nbformat.NotebookNode | None) -> str:
    """Where a run stopped, in the numbering of the source page: the last cell that was started."""
    if notebook is None:
        return ""
    place, number = "", 0
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags or "papermill-error-cell-tag" in tags:
            continue
        number += 1
        if cell.cell_type == "code" and cell.metadata.get("papermill", {}).get("start_time"):
            place = f"cell {number}: "
    return place


def _raising_line(traceback: list[str]) -> str:
    """The line of the cell that raised, as IPython marks it with an arrow; empty where it marks none."""
    for part in traceback:
        for line in re.sub(r"\x1b\[[0-9;]*m", "", part).splitlines():
            if match := re.match(r"-+> (\d+) (.*)", line):
                return f"line {match[1]}, `{match[2].strip()[:120]}`: "
    return ""


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return f"; it said: {lines[-1][:200]}" if lines else ""


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:200] if lines else ""
