"""Structured pruning without labels, on the ONNX graph: fewer channels, heads and blocks, what is left made to answer as before. onnx, onnxruntime and numpy only. Child side."""
