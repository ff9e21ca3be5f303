"""ONNX to TensorFlow Lite, written directly: no TensorFlow, the FlatBuffers schema of `ai-edge-litert` is all that is needed. Child side.

onnx -> static    every size a number, everything constant folded       -> network
network           nodes, constants, shapes, quantisers: plain data
quantisers        QDQ becomes int8 tensors with scales
rewrite           patterns that TFLite has an operator for, fused activations
lowering          layouts; products, pointwise, windows, shaping, resizing, reducing lower one family of operators each
flatfile          the file
"""
