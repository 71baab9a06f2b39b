"""Errors for activations on which no statistic is defined. Independent of jobs."""


class NonFiniteActivations(ValueError):
    """NaN or an infinity in the output of `component` at `layer`, when prompt number `prompt` (0-based) was read."""

    def __init__(self, layer: int, prompt: int, component: str) -> None:
        super().__init__(
            f"The {component} of layer {layer} holds NaN or infinite values on prompt {prompt}. Values past 65,504 overflow "
            "in float16: run the model in bfloat16 or float32. If it already runs in float32, its weights are damaged."
        )
        self.layer = layer
        self.prompt = prompt
        self.component = component


class DegenerateActivations(ValueError):
    """Half of the dims (or of the entries) of a layer are exactly 0, so that a ratio to their median is undefined."""

    def __init__(self, layer: int, what: str) -> None:
        super().__init__(
            f"At layer {layer} {what} is exactly 0, so a ratio to it does not exist: at least half of the values "
            "there are 0. Trained models are not like this: check the layer's weights, or leave it out of /layers."
        )
        self.layer = layer
