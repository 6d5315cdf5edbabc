"""Imports go one way, so that each layer can be read, tested and replaced without those above it.

It knows the layers (`LAYERS`, the lowest first) and finds every import statement, also those inside functions and under
TYPE_CHECKING. It does not run the code.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fundament

SOURCE = Path(fundament.__file__).parent

# A module may import its own package and what stands in a line before its own; never one beside it or after it.
LAYERS = (
    {"errors", "lifeline", "outbox"},
    {"settings", "protocol"},
    {"config", "certificates"},
    {"gateway"},
    {"responses", "backends", "engine", "storage", "telemetry"},
    {"api"},
    {"server", "ledger", "supervisor", "admin"},
    {"service"},
    {"cli"},
)
# What a package may import of one beside it: the interface, and no more.
INTERFACES = {"responses": "fundament.backends.call"}


def violations(source: Path) -> list[str]:
    """Each import that goes up or sideways, as `path:line: what is wrong with it`."""
    found = [
        f"{file.relative_to(source.parent)}:{line}: {problem}"
        for file in sorted(source.rglob("*.py"))
        for line, imported in imports(file, source)
        if (problem := objection(part_of(file, source), imported))
    ]
    return list(dict.fromkeys(found))


def imports(file: Path, source: Path) -> Iterator[tuple[int, str]]:
    """Line and part (`gateway`) of every import of the package's own modules."""
    package = (source.name, *file.relative_to(source).with_suffix("").parts)[:-1]
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            module = (base + (node.module or "")).rstrip(".")
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, *inside = name.split(".")
            # `from fundament import __version__` imports the root, which imports nothing.
            if top == source.name and inside and not inside[0].startswith("__"):
                if f"{name}.".startswith(f"{INTERFACES.get(part_of(file, source))}."):
                    continue
                yield node.lineno, inside[0]


def part_of(file: Path, source: Path) -> str:
    return file.relative_to(source).with_suffix("").parts[0]


def layer(part: str) -> int | None:
    if part == "__init__":
        return -1  # the root: below all
    if part == "__main__":
        return len(LAYERS)
    return next((number for number, parts in enumerate(LAYERS) if part in parts), None)


def objection(importer: str, imported: str) -> str | None:
    for part in (importer, imported):
        if layer(part) is None:
            return f"{part} has no layer; give it one in LAYERS"
    if importer == imported or layer(imported) < layer(importer):
        return None
    direction = "above" if layer(imported) > layer(importer) else "beside"
    return f"{importer} imports {imported}, which stands {direction} it"


def test_imports_go_one_way() -> None:
    found = violations(SOURCE)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("protocol/chat.py", "import fundament.api.app", "protocol imports api, which stands above it"),
        ("protocol/chat.py", "from fundament.api import app", "protocol imports api, which stands above it"),
        ("protocol/chat.py", "from fundament import api", "protocol imports api, which stands above it"),
        ("protocol/chat.py", "from ..api import app", "protocol imports api, which stands above it"),
        ("protocol/chat.py", "from .. import api", "protocol imports api, which stands above it"),
        ("protocol/chat.py", "def f():\n    import fundament.cli", "protocol imports cli, which stands above it"),
        (
            "backends/pool.py",
            "from fundament.storage.keys import X",
            "backends imports storage, which stands beside it",
        ),
        ("errors.py", "import fundament.config", "errors imports config, which stands above it"),
        ("__init__.py", "from fundament.errors import X", "__init__ imports errors, which stands above it"),
        ("protocol/a.py", "from fundament.api import x, y", "protocol imports api, which stands above it"),
        ("misc/a.py", "from fundament.errors import X", "misc has no layer; give it one in LAYERS"),
        ("api/a.py", "from fundament.misc import X", "misc has no layer; give it one in LAYERS"),
    ],
)
def test_an_import_that_goes_up_or_sideways_is_named_with_its_line(
    tmp_path: Path, file: str, code: str, complaint: str
) -> None:
    path = tmp_path / "fundament" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'"""A module."""\n\n{code}\n')
    line = 4 if code.startswith("def") else 3
    assert violations(tmp_path / "fundament") == [f"fundament/{file}:{line}: {complaint}"]


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("cli/serve.py", "from fundament.supervisor import run"),
        ("api/chat.py", "from . import streaming\nfrom .streaming import relay\nfrom fundament.backends import pool"),
        ("api/__init__.py", "from .chat import X"),
        ("errors.py", "import json\nfrom fundament import __version__"),
        ("engine/weights/pypi.py", "from ..gguf import read\nfrom ...errors import WeightsError"),
    ],
)
def test_an_import_that_goes_down_or_stays_at_home_is_allowed(tmp_path: Path, file: str, code: str) -> None:
    path = tmp_path / "fundament" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    assert violations(tmp_path / "fundament") == []
