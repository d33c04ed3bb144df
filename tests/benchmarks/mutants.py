"""Small faults planted in the pure modules: how many of them some test notices.

    python -m tests.benchmarks.mutants [--times 60] [--seed 1] [--only gate]

A mutant is one change of one line: a comparison or a sign turned, `and` for `or`, a number moved, a
condition negated. Its module's own tests run on it in a copy of the project, and must fail. Ends with 1
when fewer than nine of ten are noticed.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FLOOR = 0.9

# Each pure module, and the tests that are about it.
MODULES = {
    "mlgate/gate.py": ["tests/test_gate.py"],
    "mlgate/trend.py": ["tests/test_trend.py"],
    "mlgate/run/verdict.py": ["tests/test_verify.py"],
    "mlgate/policy/judge.py": ["tests/policy/test_judge.py", "tests/policy/test_shipped.py"],
    "mlgate/statistics/means.py": ["tests/statistics"],
    "mlgate/statistics/quantiles.py": ["tests/statistics"],
    "mlgate/statistics/binomial.py": ["tests/statistics", "tests/metrics"],
    "mlgate/stages/benchmark/capacity.py": ["tests/stages/benchmark/test_capacity.py"],
    "mlgate/stages/benchmark/compare.py": [
        "tests/stages/benchmark/test_compare.py",
        "tests/stages/benchmark/test_measurements.py",
    ],
}
_COMPARED = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_COUNTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}


@dataclass(frozen=True)
class Mutant:
    """A module's source with one change, and where."""

    module: str
    line: int
    before: str
    source: str


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its source."""
    text = (ROOT / module).read_text(encoding="utf-8")
    lines = text.splitlines()
    count = sum(1 for _ in ast.walk(ast.parse(text)))
    for number in range(count):
        tree = ast.parse(text)
        node = list(ast.walk(tree))[number]
        for way in range(_ways(node)):
            copy = ast.parse(text)
            twin = list(ast.walk(copy))[number]
            _change(twin, way)
            line = getattr(node, "lineno", 0)
            yield Mutant(module, line, lines[line - 1].strip(), ast.unparse(copy))


def _ways(node: ast.AST) -> int:
    """In how many ways a node is changed."""
    if isinstance(node, ast.Compare):
        return len(_COMPARED.get(type(node.ops[0]), ()))
    if isinstance(node, ast.BinOp):
        return int(type(node.op) in _COUNTED)
    if isinstance(node, ast.BoolOp | ast.IfExp):
        return 1
    if isinstance(node, ast.UnaryOp):
        return int(isinstance(node.op, ast.Not | ast.USub))
    if isinstance(node, ast.Constant):
        return int(type(node.value) in (int, float))
    return 0


def _change(node: ast.AST, way: int) -> None:
    """Change a node in place."""
    match node:
        case ast.Compare():
            node.ops[0] = _COMPARED[type(node.ops[0])][way]()
        case ast.BinOp():
            node.op = _COUNTED[type(node.op)]()
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.IfExp():
            node.body, node.orelse = node.orelse, node.body
        case ast.UnaryOp():
            node.op = ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not()
            if isinstance(node.op, ast.Not):
                node.operand = ast.UnaryOp(op=ast.Not(), operand=node.operand)
        case ast.Constant(value=int() | float() as number):
            node.value = number + 1
        case _:
            raise TypeError(f"{type(node).__name__} is not changed")


def noticed(mutant: Mutant, copy: Path) -> bool:
    """Whether the module's tests fail on the mutant; the copy is as before afterwards."""
    file = copy / mutant.module
    whole = file.read_text(encoding="utf-8")
    file.write_text(mutant.source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    command += ["-m", "not slow", *MODULES[mutant.module]]
    try:
        done = subprocess.run(
            command, cwd=copy, capture_output=True, check=False, timeout=600, env=_environment(copy)
        )
    except subprocess.TimeoutExpired:
        return True  # a loop without end is noticed
    finally:
        file.write_text(whole, encoding="utf-8")
    return done.returncode != 0


def _environment(copy: Path) -> dict[str, str]:
    """The copy's modules before the installed ones."""
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


def main() -> None:
    """Draw mutants, run each, and print what was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=60, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="modules whose path holds this text")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    modules = [module for module in MODULES if options.only in module]
    drawn: list[Mutant] = []
    for module in modules:
        every = list(mutants(module))
        drawn += rng.sample(every, min(len(every), -(-options.times // len(modules))))
    killed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        ignored = shutil.ignore_patterns(".git", ".venv", ".mlgate", "node_modules", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
        for number, mutant in enumerate(drawn, 1):
            seen = noticed(mutant, copy)
            killed += seen
            word = "noticed" if seen else "NOT NOTICED"
            where = f"{mutant.module}:{mutant.line}: {mutant.before}"
            print(f"{number} of {len(drawn)}: {word}: {where}", flush=True)
    print(f"{killed} of {len(drawn)} noticed ({100 * killed / len(drawn):.0f} %), floor 90 %")
    raise SystemExit(0 if killed >= FLOOR * len(drawn) else 1)


if __name__ == "__main__":
    main()
