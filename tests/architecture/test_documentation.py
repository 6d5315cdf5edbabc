"""What is written about the code is true of the code, and the code keeps to the size that a reader can hold.

It reads `docs/life-of-a-request.md` and the sources; it does not run them.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fundament

SOURCE = Path(fundament.__file__).parent
ROOT = SOURCE.parent.parent
LIFE_OF_A_REQUEST = ROOT / "docs" / "life-of-a-request.md"
MODULES = sorted(SOURCE.rglob("*.py"))

LONGEST_FILE = 400
LONGEST_DOCSTRING = 6
TREE_IN_DOCSTRING = {"errors.py"}  # it draws the whole tree of failures
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}


def definitions(source: Path) -> set[str]:
    """Each function and class, as `name` and as `Class.method`, and each module's as `module.name`."""
    found: set[str] = set()
    for file in source.rglob("*.py"):
        module = file.parent.name if file.stem == "__init__" else file.stem
        for path in _definitions_in(ast.parse(file.read_bytes())):
            names = (module, *path)
            found |= {".".join(names[start:]) for start in range(len(names))}
    return found


def _definitions_in(node: ast.AST) -> Iterator[tuple[str, ...]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield (child.name,)
            for inner in _definitions_in(child):
                yield (child.name, *inner)
        else:
            yield from _definitions_in(child)


def references(text: str) -> Iterator[tuple[int, str]]:
    """Line and name of each `path/file.py` and each `name()` in backticks; code blocks between fences do not count."""
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if not fenced:
            for name in re.findall(r"`([\w./-]+(?:\.py|\(\)))`", line):
                yield number, name


def missing(text: str, source: Path) -> list[str]:
    """The references that do not exist, as `line N: name`."""
    defined = definitions(source)
    roots = (source, source.parent, source.parent.parent)
    return [
        f"line {line}: {name}"
        for line, name in references(text)
        if not (
            any((root / name).is_file() for root in roots)
            if name.endswith(".py")
            else name.removesuffix("()").removeprefix("fundament.") in defined
        )
    ]


def test_the_life_of_a_request_names_only_what_exists() -> None:
    text = LIFE_OF_A_REQUEST.read_text()
    assert len(list(references(text))) >= 10, "it hardly names anything"
    found = missing(text, SOURCE)
    assert not found, f"in {LIFE_OF_A_REQUEST.name} and not in src/fundament:\n" + "\n".join(found)


def test_a_name_that_is_gone_is_named_with_its_line(tmp_path: Path) -> None:
    source = tmp_path / "src" / "fundament"
    (source / "api").mkdir(parents=True)
    (source / "api" / "chat.py").write_text("class Chat:\n    def ask(self): ...\nasync def answer(): ...\n")
    good = "`api/chat.py` `fundament/api/chat.py` `src/fundament/api/chat.py` `Chat()` `Chat.ask()` `chat.answer()`"
    bad = "`api/gone.py`\n`gone()` `Chat.answer()`\n```\n`alsogone()`\n```\n`curl`"
    assert missing(f"{good}\n{bad}\n", source) == ["line 2: api/gone.py", "line 3: gone()", "line 3: Chat.answer()"]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_says_what_it_knows_in_a_few_lines(module: Path) -> None:
    tree = ast.parse(module.read_bytes())
    if not tree.body:
        return  # a package's empty __init__.py
    docstring = ast.get_docstring(tree)
    assert docstring, "it has no docstring"
    if module.name not in TREE_IN_DOCSTRING:
        assert len(docstring.splitlines()) <= LONGEST_DOCSTRING


@pytest.mark.parametrize(
    "file",
    sorted([*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_file_can_be_read_in_one_sitting(file: Path) -> None:
    lines = len(file.read_text().splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines"
    assert file.stem not in NAMES_THAT_SAY_NOTHING, "the name does not say what is inside"
