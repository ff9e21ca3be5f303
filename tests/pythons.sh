#!/usr/bin/env bash
# The core's tests on every Python of PYTHONS, the agent's on every Python of AGENT_PYTHONS. An interpreter that is not on this machine is said, not hidden.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {  # 3.12 -> a working python3.12 on the PATH, or one of pyenv's
  local candidate
  for candidate in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
    if [ -n "$candidate" ] && "$candidate" -c 'pass' 2>/dev/null; then echo "$candidate"; return; fi
  done
}

missing=()
for version in $PYTHONS; do
  python=$(find_python "$version")
  if [ -z "$python" ]; then missing+=("$version"); continue; fi
  printf '\n== core on Python %s\n' "$version"
  venv=.venv-$version
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install -q -U pip
  "$venv/bin/python" -m pip install -q -c constraints.txt -e . pytest hypothesis pytest-timeout pytest-randomly pytest-xdist jsonschema scipy
  "$venv/bin/python" -m pytest -q -n 2 tests/unit tests/contract tests/architecture
done

agents=()
for version in $AGENT_PYTHONS; do
  python=$(find_python "$version")
  if [ -z "$python" ]; then missing+=("$version"); else agents+=("$python"); fi
done
printf '\n== agent on %s\n' "${agents[*]}"
EDGEOPT_AGENT_PYTHONS=$(IFS=:; echo "${agents[*]}") "$BIN/python" -m pytest -q -n 2 tests/agent
if [ ${#missing[@]} -gt 0 ]; then echo "not on this machine: ${missing[*]}"; fi
