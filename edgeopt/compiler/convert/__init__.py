"""From ONNX to the forms of other runtimes: one module or package a form, each the last step of its recipes. Child side."""
