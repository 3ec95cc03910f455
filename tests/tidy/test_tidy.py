"""Tests about the source itself: sizes, layers, words that do not belong."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("protocol", "actors", "storage", "daruma")
MAX_FILE, MAX_TEST_FILE, MAX_FUNCTION = 400, 600, 60
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_file_is_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE


@pytest.mark.parametrize("path", TESTS, ids=_name)
def test_a_test_file_is_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_TEST_FILE


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_function_is_small(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def _definitions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """(its class or nothing, node) of every function and class that is not inside of a function."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield "", node
        if isinstance(node, ast.ClassDef):
            yield from ((node.name, one) for one in node.body if isinstance(one, ast.FunctionDef))


PROMISED = {
    node.name
    for path in SOURCES
    for owner, node in _definitions(path)
    if owner and ast.get_docstring(node)
}


def _plain(owner: str, node: ast.FunctionDef | ast.ClassDef) -> bool:
    """One statement, a method of bitcoind's, or one that its interface describes."""
    if isinstance(node, ast.ClassDef):
        return False
    one = len(node.body) == 1 and isinstance(node.body[0], ast.Return | ast.Expr | ast.Pass)
    return one or (owner != "" and (node.name in PROMISED or node.name.startswith("rpc_")))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_public_name_says_what_it_is(path: Path) -> None:
    silent = [
        node.name
        for owner, node in _definitions(path)
        if not node.name.startswith("_") and not owner.startswith("_")
        if not ast.get_docstring(node) and not _plain(owner, node)
    ]
    assert not silent


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_is_left_over(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\b(TODO|FIXME|XXX)\b|NotImplementedError|breakpoint\(", text)


@pytest.mark.parametrize("path", [p for p in SOURCES if "protocol" in p.parts], ids=_name)
def test_a_machine_touches_nothing(path: Path) -> None:
    banned = {"time", "random", "os", "socket", "threading", "thespian", "rocksdict", "subprocess"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        assert not banned & {name.partition(".")[0] for name in names}


def test_no_pickle_but_in_the_hardened_base() -> None:
    users = [
        _name(path)
        for path in SOURCES
        if re.search(r"^import pickle|^from pickle", path.read_text(), re.M)
    ]
    assert users == ["actors/engine/hardened.py"]


HARMLESS = {"isinstance", "len", "all", "any"}


# what the test kit asserts are the ends of its stories: tests, which are never run without
@pytest.mark.parametrize("path", [p for p in SOURCES if "testkit" not in p.parts], ids=_name)
def test_an_assertion_has_no_effect(path: Path) -> None:
    """Python leaves assertions out when it is told to: nothing may be done inside one."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Assert):
            continue
        for part in ast.walk(node.test):
            assert not isinstance(part, ast.NamedExpr | ast.Await | ast.Yield), ast.unparse(node)
            if isinstance(part, ast.Call):
                called = part.func.id if isinstance(part.func, ast.Name) else ""
                assert called in HARMLESS, ast.unparse(node)


@pytest.mark.parametrize("path", sorted((ROOT / "protocol").rglob("*.py")), ids=_name)
def test_a_row_is_reached_by_its_segment_alone(path: Path) -> None:
    """Nobody but the contract itself looks into a step: rows have a type and keys have parts."""
    if path.name in ("machine.py", "segment.py") and path.parent.name == "protocol":
        return
    inside = {"stored_rows", "changed_rows"}
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = {
            ast.Attribute: lambda node: node.attr,
            ast.Constant: lambda node: node.value,
        }.get(type(node), lambda node: None)(node)
        assert names not in inside, f"line {node.lineno} looks into a step"
    declared = {id(node.value) for node in tree.body if isinstance(node, ast.Assign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Segment":
            assert id(node) in declared, f"line {node.lineno}: a segment is declared by its module"


def _imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of ours that are imported when this one is; not what only the type checker reads."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known.keys() or {node.module} & known.keys()
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known.keys()
    return found


def _module(path: Path) -> str:
    return _name(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=_name)
def test_nobody_hears_just_anything(path: Path) -> None:
    """What may come has a type."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.arg) and node.arg == "item" and node.annotation is not None:
            assert ast.unparse(node.annotation) != "object", f"line {node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_dispatcher_knows_its_cases(path: Path) -> None:
    """What may come is a union of types, and a match of types has an end for what is none of
    them: `assert_never`, or what is done then."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Match) or _name(path) in NOTES:
            continue
        patterns = [part for case in node.cases for part in ast.walk(case.pattern)]
        kinds = [ast.unparse(part.cls) for part in patterns if isinstance(part, ast.MatchClass)]
        last = node.cases[-1]
        if set(kinds) - {"str", "int", "float", "bool", "list", "dict"}:
            assert isinstance(last.pattern, ast.MatchAs), f"line {node.lineno} has no end"
            assert "AssertionError" not in ast.unparse(last), f"line {node.lineno}"


# Thespian gives its actors notes that are nobody's business
NOTES = ("actors/engine/leaf.py", "actors/engine/supervisor.py")


def test_the_tests_of_the_protocol_stand_where_it_stands() -> None:
    def folders(where: Path) -> set[str]:
        return {one.name for one in where.iterdir() if any(one.glob("*.py"))}

    assert folders(ROOT / "tests" / "protocol") <= folders(ROOT / "protocol")
    assert not folders(ROOT / "protocol") - folders(ROOT / "tests" / "protocol")


def test_no_import_goes_round_in_a_circle() -> None:
    known = {_module(path): path for path in SOURCES}
    left = {name: _imports(path, known) - {name} for name, path in known.items()}
    while True:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        if not free:
            break
        for name in free:
            del left[name]
    assert not left, f"they import each other: {sorted(left)}"
