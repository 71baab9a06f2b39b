"""What activations can be that no statistic is defined on. Knows nothing of jobs."""


class NonFiniteActivations(ValueError):
    """NaN or an infinity in what `component` adds or holds at `layer`, while prompt number `prompt` (0-based) was read."""

    def __init__(self, layer: int, prompt: int, component: str) -> None:
        super().__init__(
            f"The {component} of layer {layer} holds NaN or infinite values on prompt {prompt}. Values past 65,504 overflow "
            "in float16: run the model in bfloat16 or float32; if it runs in float32 already, its weights are broken."
        )
        self.layer = layer
        self.prompt = prompt
        self.component = component


class DegenerateActivations(ValueError):
    """Half of the dims (or of the entries) of a layer are exactly 0, so that a ratio to their median does not exist."""

    def __init__(self, layer: int, what: str) -> None:
        super().__init__(
            f"At layer {layer} {what} is exactly 0, so that no ratio to it exists: at least half of the values there are 0. "
            "A trained model is never like this; look at the layer's weights, or leave it out of /layers."
        )
        self.layer = layer
