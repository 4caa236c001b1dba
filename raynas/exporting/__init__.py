"""Trained networks for use elsewhere: torch.export, ONNX, standalone source, and a model card."""
