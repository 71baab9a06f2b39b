"""How many tokens one forward pass holds on a device, and how many tokens another pass costs. A plan of passes depends on these and on the
rows' ids: on the kind of device and the width of the model, and not on free memory or load.

On a GPU a pass takes at least as long as the host needs to launch its kernels, which depends on the number of blocks and not on their tokens.
Passes over few tokens are therefore wasted there, and so is a pass that computes a short common beginning once.
"""

from workers.lm.model import LanguageModel
from workers.lm.prefixes import PASS_COST, PASS_TOKENS

MOST_TOKENS = 8192  # of one pass: a larger pass is not faster, and its activations take memory
MOST_CPU_TOKENS = 2048  # on a CPU a pass takes seconds, and a cancellation is noticed only between passes
LAUNCHED = 9.6e10
"""About the multiplications that an H100 makes while the host launches a block: 2,048 tokens through the 47 million parameters of a block of the
1.5B shape, whose 28 blocks take 26 ms to launch (`recorded`). Estimated from its speed, not measured."""
OF_A_TOKEN = 14
"""About the multiplications of a block for a token, in squares of the model's width: 13 to 14 in Llama 3 and Gemma 3, and about as many where a
token uses a few of many experts."""
LAUNCHES = 2
"""A pass over texts computes so many times as long as its launch takes, so that the device is busy while the next kernels are launched. More
would only take memory."""


def pass_cost(lm: LanguageModel) -> int:
    """Returns the tokens that a further pass must save to be worth its launch."""
    if lm.pass_cost is not None:
        return lm.pass_cost
    if lm.device.type == "cpu":
        return PASS_COST
    return min(MOST_TOKENS, max(PASS_COST, int(LAUNCHED / (OF_A_TOKEN * lm.layout.hidden_size**2))))


def spare_pads(lm: LanguageModel) -> int:
    """Returns the pads that a pass over texts may hold beyond the usual share, rather than be two passes: none on a CPU."""
    return 0 if lm.device.type == "cpu" else pass_cost(lm)


def pass_tokens(lm: LanguageModel) -> int:
    """Returns the most tokens in one pass over prompts of several rows that are then continued."""
    return MOST_CPU_TOKENS if lm.device.type == "cpu" and lm.layout.structure.engine == "slots" else MOST_TOKENS


def reading_tokens(lm: LanguageModel) -> int:
    """Returns the most tokens in one pass over several rows that are only read: captured, or scored by a judge."""
    return PASS_TOKENS if lm.device.type == "cpu" else min(MOST_TOKENS, max(PASS_TOKENS, LAUNCHES * pass_cost(lm)))
