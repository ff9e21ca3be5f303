#!/usr/bin/env bash
# The whole loop on this computer: generate samples, build, measure, pick, install, use, pick again, install another, roll back.
# Called by `make demo`, which makes the environment. Everything it writes goes to .demo/.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=$(cd "${BIN:-.venv/bin}" && pwd)
DEMO=$PWD/.demo
EXAMPLE=$PWD/examples/parts
rm -rf "$DEMO"
mkdir -p "$DEMO/project"
export EDGEOPT_HOME=$DEMO/home
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
run() { say "$@"; "$BIN/$@"; }

printf 'The example: a network that tells rendered parts apart, trained by examples/parts/train.py.\n'
cp "$EXAMPLE/model.onnx" "$EXAMPLE/edgeopt.toml" "$DEMO/project/"
say python examples/parts/generate.py --out samples --count 600 --seed 7
"$BIN/python" "$EXAMPLE/generate.py" --out "$DEMO/project/samples" --count 600 --seed 7
cd "$DEMO/project"

run edgeopt inspect model.onnx
run edgeopt device add board --profile local --address local: --root "$DEMO/board"
run edgeopt doctor --device board
run edgeopt deploy --device board --dry-run
run edgeopt deploy --device board --app parts --rounds 6 --block-seconds 0.5 --accept-disturbed

say "python app.py   # the application on the board runs exactly what was measured"
"$BIN/python" - "$DEMO/board" <<'PY'
import sys
sys.path.insert(0, f"{sys.argv[1]}/agent/edgeopt_agent.pyz")
import numpy as np
from edgeopt_agent import load
model = load("parts", root=sys.argv[1])
scores = model(np.zeros([1, *[d for d in model.inputs[0]["shape"][1:]]], "float32"))[0]
print(f"variant {model.manifest['variant']}, {len(scores[0])} scores, best class {int(scores[0].argmax())}")
PY

say "python examples/parts/evaluate.py   # the truth, known here because the pictures are generated with their labels"
"$BIN/python" "$EXAMPLE/evaluate.py" --model "$DEMO/board/apps/parts/current/model.onnx" --original model.onnx --count 650

printf '\nThe same measurement under another goal, no board needed:\n'
run edgeopt pick last --objective size --min-agreement 0.9
printf '\nAnother release of the same app, so that there is something to go back from:\n'
run edgeopt deploy --device board --app parts --recipes original --rounds 6 --block-seconds 0.2 --accept-disturbed
run edgeopt status --device board
run edgeopt rollback --device board
run edgeopt status --device board
printf '\nDone. Your own model: edgeopt init\n'
