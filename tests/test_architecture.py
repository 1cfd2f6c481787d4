"""The shape of the package: floors, file sizes, and what must not stand in it."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "medseg"

FLOORS = [
    {"compat", "errors", "files", "shapes", "config", "runtime"},
    {"data", "encoders", "inflation", "decoders", "adapters"},
    {"segmenter", "models", "tuning"},
    {"training", "inference", "metrics"},
    {"records", "batch"},
    {"studies", "reports"},
    {"cli", "book", "__main__"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {"torch", "timm", "monai", "torchvision", "lightning"}
# These import torchvision, whose CUDA build does not load beside a CPU torch unless medseg.compat came first.
NEED_COMPAT = {"timm", "monai", "torchvision", "lightning"}
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".json", ".txt", ".sh", ".cff", ".bib", ".ipynb", ""}
# Absolute paths below a home, mount or work folder. Built without such a path, so that this file passes too.
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:root|work|workspace|scratch|mnt|home/\w+|Users/\w+)/")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of every import in a file, those inside functions too; relative ones resolved."""
    package = path.relative_to(ROOT).parent.parts
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *filter(None, [node.module])))
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return sorted(found)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def upward_imports(path: Path) -> list[str]:
    """Imports of `path` that name a higher floor."""
    own = FLOOR_OF[part_of(path)]
    wrong = []
    for line, name in imported(path):
        top, _, rest = name.partition(".")
        if top == "medseg" and FLOOR_OF.get(rest.partition(".")[0], 0) > own:
            wrong.append(f"{relative(path)}:{line} imports {name}")
    return wrong


def tracked_files() -> list[Path]:
    """Files in git, or about to be: what is ignored is left out."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_every_module_stands_on_a_floor():
    homeless = {part_of(path) for path in MODULES} - set(FLOOR_OF) - {"__init__"}
    assert not homeless, f"give a floor to {sorted(homeless)}"


@pytest.mark.parametrize("path", [p for p in MODULES if part_of(p) in FLOOR_OF], ids=relative)
def test_imports_go_down(path):
    assert not upward_imports(path)


def test_an_upward_import_is_found(monkeypatch):
    source = "def f():\n    from medseg import cli\n    from ..records import store\n"
    path = PACKAGE / "data" / "example.py"
    monkeypatch.setattr(sys.modules[__name__], "tree_of", lambda _: ast.parse(source))
    assert imported(path) == [(2, "medseg.cli"), (3, "medseg.records.store")]
    assert len(upward_imports(path)) == 2


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_compat_is_imported_before_what_needs_it(path):
    lines = imported(path)
    heavy = [line for line, name in lines if name.split(".")[0] in NEED_COMPAT]
    shims = [line for line, name in lines if name == "medseg.compat"]
    assert not heavy or (shims and shims[0] < heavy[0]), f"{relative(path)}: import medseg.compat first"


def test_no_file_is_long():
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {name: lines for name, lines in lengths.items() if lines > 350}


def test_no_file_without_a_concept():
    vague = {"util", "utils", "helper", "helpers", "misc", "common"}
    assert not [relative(path) for path in MODULES if path.stem in vague or path.parent.name in vague]


def test_only_the_command_line_prints():
    printing = [
        f"{relative(path)}:{node.lineno}"
        for path in MODULES
        if part_of(path) != "cli"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not printing


@pytest.mark.parametrize(
    "phrase", ["TODO", "FIXME", "NotImplementedError", "strict=False", "weights_only=False"]
)
def test_no_stub_and_no_silent_loading(phrase):
    assert not [relative(path) for path in MODULES if phrase in path.read_text(encoding="utf-8")]


def test_no_pickle():
    assert not [
        f"{relative(path)}:{line}"
        for path in MODULES
        for line, name in imported(path)
        if name.split(".")[0] in {"pickle", "cPickle", "dill", "joblib", "cloudpickle"}
    ]


@pytest.mark.parametrize("module", ["medseg", "medseg.cli"])
def test_import_is_light(module):
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stdout.split()


def test_no_path_of_one_machine():
    found = []
    for path in tracked_files():
        if path.suffix in TEXT and path.stat().st_size < 500_000:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                if MACHINE_PATH.search(line):
                    found.append(f"{relative(path)}:{number}")
    assert not found
