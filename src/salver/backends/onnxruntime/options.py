"""How ONNX models are loaded."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from salver.backends.options import option

__all__ = ["EXECUTION_MODES", "OPTIMIZATION_LEVELS", "OnnxRuntimeOptions"]

EXECUTION_MODES: Final = {"sequential": 0, "parallel": 1}
OPTIMIZATION_LEVELS: Final = {"none": 0, "basic": 1, "extended": 2, "all": 99}
_MOST_THREADS: Final = 1 << 12


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntimeOptions:
    """What the flags, or a model's own options, say of a session.

    Attributes:
        num_shared_threads: of the pool that models share; 0 for one per CPU.
        intra_op_num_threads: of a model's own; 0 for the shared ones.
        inter_op_num_threads: likewise.
        execution_mode: one of `EXECUTION_MODES`.
        graph_optimization_level: one of `OPTIMIZATION_LEVELS`.
        providers: ONNX Runtime's names, the preferred first; the CPU comes last in any case.
        enable_mem_arena: whether memory of runs is kept for the next.
        enable_mem_pattern: whether the memory of a run is planned by the shapes of its inputs.
        allow_spinning: whether idle threads stay awake for a while.
        custom_op_libraries: paths of shared objects that register operations.
        log_severity_level: 0 (all) to 4 (nothing but what ends the process).
        max_nodes: of a graph; more are refused.
    """

    num_shared_threads: int = option(
        0,
        "Threads that ONNX models share; 0 for one per CPU. The first model that is loaded makes "
        "them.",
    )
    intra_op_num_threads: int = option(
        0,
        "Threads of its own in which one operation of an ONNX model computes; 0 for the shared "
        "ones, 1 for the thread of the request alone.",
    )
    inter_op_num_threads: int = option(
        0,
        "Threads of its own in which operations of an ONNX model run side by side, if "
        "execution_mode is parallel; 0 for the shared ones.",
    )
    execution_mode: str = option(
        "sequential",
        "sequential: the operations of an ONNX model run one after the other; parallel: branches "
        "side by side.",
    )
    graph_optimization_level: str = option(
        "all", "How ONNX graphs are optimized when loaded: none, basic, extended or all."
    )
    providers: tuple[str, ...] = option(
        ("CPUExecutionProvider",),
        "ONNX Runtime's execution providers, the preferred first: CUDAExecutionProvider needs "
        "onnxruntime-gpu.",
    )
    enable_mem_arena: bool = option(
        default=True, help="Keep the memory of a run of an ONNX model for its next runs."
    )
    enable_mem_pattern: bool = option(
        default=True, help="Plan the memory of runs of ONNX models by the shapes of their inputs."
    )
    allow_spinning: bool = option(
        default=False,
        help="Let threads of ONNX models wait awake for work: sooner there, and busy when idle.",
    )
    custom_op_libraries: tuple[str, ...] = option(
        (), "Shared objects with custom operations for ONNX models; under a trusted path."
    )
    log_severity_level: int = option(
        4, "What ONNX Runtime logs of loads itself: 0 all, 2 warnings, 3 errors, 4 nothing."
    )
    max_nodes: int = option(
        250_000, "ONNX graphs of more nodes are refused: 100,000 take 0.3 GB and 6 s to load."
    )

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            ValueError: with the name of the option.
        """
        for name in ("num_shared_threads", "intra_op_num_threads", "inter_op_num_threads"):
            _check(name, getattr(self, name), range(_MOST_THREADS + 1))
        _check("log_severity_level", self.log_severity_level, range(5))
        _check("execution_mode", self.execution_mode, EXECUTION_MODES)
        _check("graph_optimization_level", self.graph_optimization_level, OPTIMIZATION_LEVELS)
        if self.max_nodes < 1:
            raise ValueError(f"max_nodes is {self.max_nodes}, less than 1")


def _check(name: str, value: object, allowed: Collection[object]) -> None:
    if value in allowed:
        return
    names = (
        f"{allowed[0]} to {allowed[-1]}"
        if isinstance(allowed, range)
        else ", ".join(map(str, allowed))
    )
    raise ValueError(f"{name} is {value!r}, and may be {names}")
