"""Models in the form of other programs: ONNX, without a complex number, checked against the original."""

from lego_core.export._export import Exported, export_onnx, write_exports

__all__ = ["Exported", "export_onnx", "write_exports"]
