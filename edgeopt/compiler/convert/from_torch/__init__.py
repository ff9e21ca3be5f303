"""Networks of PyTorch as ONNX: Hugging Face folders, `torch.export` archives, the user's own modules. Child side.

What each source gives is a `Network` (`network`), which `export` writes and compares with the source. torch is imported inside of functions.
"""
