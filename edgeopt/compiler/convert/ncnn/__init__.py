"""ONNX to ncnn by ncnn's own converter, `pnnx`, and int8 written by us from the calibrated network. Child side."""

from edgeopt.compiler.convert.ncnn.convert import to_ncnn

__all__ = ["to_ncnn"]
