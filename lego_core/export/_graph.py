"""The one place that knows PyTorch's exporter, and ONNX."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from jaxtyping import config
from torch import Tensor, nn

from lego_core.errors import ExportError
from lego_core.export._inputs import GraphInput
from lego_core.export._recurrent import as_onnx

OPSET = 18
OUTPUT = "prediction"
CHATTY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")

# What the exporter raises at code that it cannot follow.
TRACE_ERRORS = (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError, KeyError)


def graph_of(model: nn.Module, tensors: Sequence[Tensor], inputs: Sequence[GraphInput]) -> Any:
    """Write a model as an ONNX graph, of any number of patients and rows.

    Args:
        model: Takes the tensors one by one.
        tensors: An example of each.
        inputs: Their names and axes.

    Raises:
        ExportError: If what makes graphs is not installed, or cannot follow the model.
    """
    for package in ("onnx", "onnxscript"):
        _import(package)
    sizes = tuple(
        {axis: name for axis, name in enumerate(one.axes) if isinstance(name, str)} for one in inputs
    )
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                model.eval(),
                tuple(tensors),
                input_names=[one.name for one in inputs],
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes={"tensors": sizes},
                custom_translation_table=_translations(),
                verbose=False,
            )
    except TRACE_ERRORS as error:
        raise ExportError(
            "PyTorch's exporter cannot write the model as an ONNX graph: somewhere it does what depends on "
            "the values of a tensor, or uses an operation that ONNX lacks. Encoders of kind 'module' most "
            "often are what does; export the other blocks (--modality), or give that encoder a form that the "
            "exporter can follow.",
            local=str(error),
        ) from error
    if program is None:
        raise ExportError("PyTorch's exporter gave no graph. Install torch 2.6 or newer.")
    graph = program.model_proto
    for node in [*graph.graph.node, *(node for function in graph.functions for node in function.node)]:
        del node.metadata_props[:]  # where in the source each came from, with this machine's folders
        node.doc_string = ""
    return graph


def run_graph(content: bytes, tensors: Sequence[Tensor]) -> Tensor:
    """Let ONNX Runtime predict.

    Args:
        content: The bytes of the file.
        tensors: One per input, in order.

    Raises:
        ExportError: If ONNX Runtime is not installed.
    """
    runtime = _import("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    given = {one.name: tensor.numpy() for one, tensor in zip(session.get_inputs(), tensors, strict=True)}
    return torch.from_numpy(session.run(None, given)[0])


def with_metadata(graph: Any, metadata: dict[str, str]) -> bytes:
    """The bytes of a file, with these texts in it."""
    onnx = _import("onnx")
    onnx.helper.set_model_props(graph, metadata)
    onnx.checker.check_model(graph)
    return graph.SerializeToString()


def _translations() -> dict[Any, Any]:
    op = _import("onnxscript").opset18
    return {torch.ops.aten.cummax.default: _running_maximum(op), **as_onnx(op)}


def _running_maximum(op: Any) -> Any:
    """ONNX has no running maximum: compare every row with all those before it."""

    def cummax(x: Any, dim: int) -> Any:
        if dim != 1:
            raise ValueError(f"a running maximum along axis {dim}, and 1 is what can be written")
        length = op.Shape(x, start=1, end=2)
        before = op.Trilu(op.Expand(op.Constant(value_int=1), op.Concat(length, length, axis=0)), upper=0)
        allowed = op.Unsqueeze(op.Cast(before, to=9), [0, 3])
        lowest = op.Constant(value_int=torch.iinfo(torch.int64).min)
        masked = op.Where(allowed, op.Unsqueeze(x, [1]), lowest)
        highest = op.ReduceMax(masked, [2], keepdims=0)
        return highest, highest

    return cummax


def _import(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        raise ExportError(
            f"To write a model as ONNX, the package '{package}' is needed and is not installed. Install the "
            "extra 'export': pip install 'lego-federation[export]'."
        ) from None


@contextmanager
def unchecked() -> Iterator[None]:
    """Let symbols in place of sizes, and doubles, pass where a test run checks shapes and types."""
    checks = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", checks)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own inner life, and logs what it lacks for other models."""
    loggers = [logging.getLogger(name) for name in CHATTY]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), unchecked():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
