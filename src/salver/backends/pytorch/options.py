"""How PyTorch's files are served."""

from dataclasses import dataclass

from salver.backends.options import option

__all__ = ["PyTorchOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PyTorchOptions:
    """What the flags, or a model's own options, say of PyTorch's files.

    Attributes:
        num_threads: that compute one operation; 0 leaves it to PyTorch. PyTorch has one number per
            process: where several models share one, the model loaded last says it.
        device: on which the model runs.
        inference_mode: run without what gradients need; else gradients are merely not computed.
        inputs: of a file that does not say them, in the order of the arguments of its function.
        outputs: likewise, in the order in which it returns them.
    """

    num_threads: int = option(0, "Threads for one operation; 0: as many as PyTorch takes.")
    device: str = option("cpu", "Device on which PyTorch models run, such as cpu or cuda:0.")
    inference_mode: bool = option(default=True, help="Run PyTorch models in its inference mode.")
    inputs: str = option(
        "", "Inputs of files that do not say them: `x: float32[-1, 4], k: int64[]`."
    )
    outputs: str = option("", "Outputs of files that do not say them, in the form of the inputs.")
