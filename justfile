# What a contributor does, by name: `just` lists it. (.venv/bin/just comes with the test lock.)
bin := justfile_directory() / ".venv/bin"
fast := "not slow and not docker and not gpu and not spark and not node"

_default:
    @"{{ bin }}/just" --list

# The environment, from the lock.
setup:
    test -x "{{ bin }}/python" || python3 -m venv .venv
    "{{ bin }}/pip" install -q --require-hashes -r locks/test.txt
    "{{ bin }}/pip" install -q --no-deps --no-build-isolation -e .

# The fast lane: some minutes; no container, GPU, Spark or Node.js.
fast *words:
    "{{ bin }}/pytest" -q -n 2 -m "{{ fast }}" {{ words }}

# Every test; what cannot run here is skipped with a reason.
test *words:
    "{{ bin }}/pytest" -n auto {{ words }}

# Rewrite golden and generated files; then look at the diff.
update:
    "{{ bin }}/pytest" -q --update tests/generated tests/ci tests/render tests/test_schema.py

# Mend what can be mended, and check style, imports and types.
style:
    "{{ bin }}/ruff" check --fix .
    "{{ bin }}/ruff" format .
    "{{ bin }}/lint-imports"
    "{{ bin }}/mypy"

# Write locks/ anew for pyproject.toml; `just lock --upgrade` takes the newest of everything.
lock *words:
    .ci/lock {{ words }}

# Everything, as CI runs it; or some jobs of it: `just ci style newest`.
ci *jobs:
    .ci/run {{ jobs }}
