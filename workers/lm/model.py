"""`LanguageModel`: one causal language model with its tokenizer, on one device, ready to be read and run.

Holds the model, checks token ids against its limits, and counts bytes. `loading` makes it; `capture` and `generation` use it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from terms.specs import SpecialTokens
from workers.lm.architecture import Layout
from workers.lm.errors import ModelFault
from workers.lm.facts import ModelFacts


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A loaded causal language model with its tokenizer. `eos_ids` are all ids that end a generation (instruct models have several); `facts`
    describe the files it was loaded from; `special_tokens` says whether names of special tokens in a user's text mean the tokens (`markup`) or
    are plain letters (`text`); `record_steps`: on CUDA, generation steps are recorded and replayed (`recorded`); `pass_cost`: the tokens that
    its device computes in the time of launching a pass (None: as `pass_sizes` assumes for the device)."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    layout: Layout
    device: torch.device
    dtype: torch.dtype
    facts: ModelFacts
    eos_ids: frozenset[int]
    pad_id: int
    folder: Path
    special_tokens: SpecialTokens = "markup"
    record_steps: bool = True
    pass_cost: int | None = None

    @property
    def text_config(self) -> PretrainedConfig:
        """The text model's config, also when it lies inside a multimodal wrapper."""
        return self.model.config.get_text_config()

    @property
    def vocab_size(self) -> int:
        """The number of rows of the embedding; every token id is below it."""
        return self.facts.vocab_size

    @property
    def context_length(self) -> int:
        """Longest row, prompt and answer together, in tokens."""
        return self.facts.context_length

    @property
    def resident_bytes(self) -> int:
        """Bytes of parameters and buffers, tied tensors once."""
        tensors = {t.data_ptr(): t for t in (*self.model.parameters(), *self.model.buffers())}
        return sum(t.numel() * t.element_size() for t in tensors.values())

    def check_ids(self, ids: Sequence[int], new_tokens: int = 0) -> None:
        """Raises ModelFault empty_prompt, prompt_too_long or token_out_of_range when a row cannot be run with `new_tokens` more tokens."""
        if not ids:
            raise ModelFault("empty_prompt", "A prompt has no tokens. Write some text.")
        if len(ids) + new_tokens > self.context_length:
            raise ModelFault(
                "prompt_too_long",
                f"A prompt of {len(ids)} tokens and {new_tokens} new ones make {len(ids) + new_tokens}; this model's context is "
                f"{self.context_length} tokens. Shorten the prompt or request fewer new tokens.",
            )
        if not 0 <= min(ids) <= max(ids) < self.vocab_size:
            bad = next(i for i in ids if not 0 <= i < self.vocab_size)
            raise ModelFault(
                "token_out_of_range",
                f"Token id {bad} is outside the model's vocabulary of {self.vocab_size}. "
                "The tokenizer does not belong to this model.",
            )
