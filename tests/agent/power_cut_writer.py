"""Uploads, installs and switches to one release after the other in the tree given, saying each digest when it is reported done; ended by its parent.

python power_cut_writer.py PACKAGE_PARENT ROOT
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from edgeopt_agent import content, install
from edgeopt_agent.app_state import App
from edgeopt_agent.tree import Tree, make_folder


def put(tree: Tree, data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    make_folder(tree.incoming)
    Path(tree.part(digest)).write_bytes(data)
    content.commit(tree, digest, len(data), lambda _: None)
    return {"digest": digest, "bytes": len(data)}


def release(tree: Tree, number: int) -> str:
    files = [
        {"path": path, **put(tree, (f"{path} {number} ".encode() * 400))}
        for path in ("model.onnx", "data/weights.bin", "inputs.npz", "outputs.npz")
    ]
    manifest = {
        "schema": 1,
        "app": "app",
        "variant": str(number),
        "model": "model.onnx",
        "files": files,
        "setting": {"runtime": "onnxruntime", "provider": "CPUExecutionProvider", "threads": 1},
        "runtime_version": "1",
        "inputs": [],
        "outputs": [],
        "probe": {"inputs": "inputs.npz", "outputs": "outputs.npz", "rtol": 0, "atol": 0},
    }
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    install.install(tree, App(tree, "app"), manifest, digest, lambda _: None)
    return digest


def main() -> None:
    tree = Tree(sys.argv[2])
    app = App(tree, "app")
    for number in itertools.count():
        digest = release(tree, number)
        app.switch(digest, None)
        os.write(1, digest.encode() + b"\n")
        if number % 5 == 4:
            install.collect_releases(tree)
            content.collect_blobs(tree, frozenset())


main()
