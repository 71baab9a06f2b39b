"""How many tokens one forward pass holds on a device, and how many tokens another pass costs. Plans of passes depend on these and on ids alone.

On a GPU a pass takes at least as long as the host needs to launch its kernels, which depends on the number of blocks and not on their tokens.
Passes over few tokens are therefore wasted there, and so is a pass that computes a short common beginning once.
"""

from workers.lm.model import LanguageModel
from workers.lm.prefixes import PASS_COST, PASS_TOKENS

MOST_TOKENS = 8192  # of one pass: a larger pass is not faster, and its activations take memory
MOST_CPU_TOKENS = 2048  # on a CPU a pass takes seconds, and a cancellation is noticed only between passes
LAUNCH_COST, LAUNCH_BLOCK = 2048, 47e6
"""About the tokens that an H100 computes while the host launches a pass over blocks of so many parameters (26 ms for the 28 blocks of the 1.5B
shape, see `recorded`). Estimated from its speed, not measured; larger blocks take as much longer for a token, and no longer to launch."""
LAUNCHES = 4
"""A pass over texts computes so many times as long as its launch takes. More would take memory and save little."""


def pass_cost(lm: LanguageModel) -> int:
    """Returns the tokens that a further pass must save to be worth its launch."""
    if lm.pass_cost is not None:
        return lm.pass_cost
    if lm.device.type == "cpu":
        return PASS_COST
    block = lm.layout.site(lm.layout.n_layers // 2, "residual")
    return min(MOST_TOKENS, max(PASS_COST, int(LAUNCH_COST * LAUNCH_BLOCK / sum(part.numel() for part in block.parameters()))))


def pass_tokens(lm: LanguageModel) -> int:
    """Returns the most tokens in one pass over prompts of several rows that are then continued."""
    return MOST_CPU_TOKENS if lm.device.type == "cpu" and lm.layout.structure.engine == "slots" else MOST_TOKENS


def reading_tokens(lm: LanguageModel) -> int:
    """Returns the most tokens in one pass over several rows that are only read: captured, or scored by a judge."""
    return PASS_TOKENS if lm.device.type == "cpu" else min(MOST_TOKENS, max(PASS_TOKENS, LAUNCHES * pass_cost(lm)))
