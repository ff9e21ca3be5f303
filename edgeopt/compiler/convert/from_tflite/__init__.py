"""TensorFlow Lite to a float ONNX graph, so that everything that is done to ONNX models can be done to it: what was quantised is dequantised. Child side.

reading      the file by the schema, with bounds, and what LiteRT says of its tensors     -> lite
lite         operators, tensors, options: plain data
importing    layouts, the graph's border, the ONNX model
products, pointwise, shaping, windows    one family of operators each
"""
