"""Loads one language model onto one device: from a local folder, or from the hub by name.

Safetensors only, no code from the model's folder, the whole model on one device, eval mode, no gradients.
"""

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workers.lm.architecture import find_layout
from workers.lm.capture import assert_no_hooks
from workers.lm.checkpoint import open_model, read_config
from workers.lm.errors import ModelFault
from workers.lm.facts import ModelFacts
from workers.lm.folder import Progress, check_folder, devices, files_changed
from workers.lm.hub import local_folder
from workers.lm.inspection import inspect_folder
from workers.lm.model import LanguageModel
from workers.lm.prompts import turn_end
from workers.lm.structure.values import structure_from_dict
from workers.lm.tokenizing import open_tokenizer

__all__ = ["LanguageModel", "confirm", "load"]


def load(
    path: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    facts: ModelFacts | None = None,
    progress: Progress | None = None,
) -> LanguageModel:
    """Returns the model in the folder `path`, or of the hub id `path` at `revision`, ready to run on `device` in `dtype`.

    `facts` come from an earlier inspection: with them the weights are scanned and hashed again only if a file's stamp changed, and changed
    content is ModelFault weights_changed, as is content that changes during the load. Raises what `inspect_folder` raises, and unknown_dtype,
    hub_not_stored, hub_unreachable.
    """
    folder = local_folder(path, revision)
    facts = inspect_folder(folder, progress) if facts is None else confirm(folder, facts, progress)
    check_folder(folder)
    on = devices(folder)
    tokenizer = open_tokenizer(folder)
    kind = _dtype(dtype)
    model = open_model(folder, read_config(folder), dtype=kind)
    model = _settle(model, torch.device(device))
    if files_changed(folder, facts.files) or devices(folder) != on:
        raise ModelFault(
            "weights_changed",
            f"The files in {folder} changed while the model was loaded. Load it again when they no longer change.",
        )
    assert_no_hooks(model)
    return LanguageModel(
        model=model,
        tokenizer=tokenizer,
        layout=find_layout(model, structure_from_dict(facts.structure)),
        device=torch.device(device),
        dtype=kind,
        facts=facts,
        eos_ids=_eos_ids(model, tokenizer),
        pad_id=_pad_id(tokenizer, facts.vocab_size),
        folder=folder,
    )


def confirm(path: str | Path, facts: ModelFacts, progress: Progress | None = None) -> ModelFacts:
    """Returns `facts`, or new facts with equal hashes if the files were only touched or copied. Raises ModelFault weights_changed, and what
    `inspect_folder` raises."""
    if not files_changed(path, facts.files):
        return facts
    fresh = inspect_folder(path, progress)
    now = {"weights": fresh.weight_hash, "tokenizer": fresh.tokenizer_hash, "config": fresh.config_hash}
    then = {"weights": facts.weight_hash, "tokenizer": facts.tokenizer_hash, "config": facts.config_hash or fresh.config_hash}
    if changed := [f"{part} {then[part][:12]} then, {now[part][:12]} now" for part in now if now[part] != then[part]]:
        raise ModelFault(
            "weights_changed",
            f"The files in {path} are not those that were inspected ({'; '.join(changed)}). "
            "Inspect the model again, or put the old files back.",
        )
    return fresh


def _settle(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """Moves the model to its device, into memory that no file backs.

    On the CPU the loaded tensors are views of the mapped file: a file rewritten in place would change a running model, and a truncated file
    would kill the process. So the tensors are copied.
    """
    if device.type == "cpu":
        copies: dict[int, torch.Tensor] = {}
        for parameter in model.parameters():
            copies.setdefault(parameter.data_ptr(), parameter.data.clone())
            parameter.data = copies[parameter.data_ptr()]
        for buffer in model.buffers():
            buffer.data = buffer.data.clone()
    model = model.to(device)
    model.requires_grad_(False)
    return model.eval()


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    torch_dtype = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype, None)
    if torch_dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ModelFault("unknown_dtype", f"{dtype} is not a dtype that models run in. Use float32, bfloat16 or float16.")
    assert isinstance(torch_dtype, torch.dtype)
    return torch_dtype


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every id that ends a text: from the generation config (a list for instruct models), the config, the tokenizer, and the id that the chat
    template writes after an answer. Where the generation config lists several ids, the template's id is not added, because the model may
    continue after it."""
    ids: set[int] = set()
    for source in (model.generation_config, model.config.get_text_config(), tokenizer):
        eos = getattr(source, "eos_token_id", None)
        ids.update([eos] if isinstance(eos, int) else eos or [])
    listed = getattr(model.generation_config, "eos_token_id", None)
    _, end = turn_end(tokenizer)
    if end is not None and not (isinstance(listed, list) and len(listed) > 1):
        ids.add(end)
    return frozenset(ids)


def _pad_id(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> int:
    """Any valid id, because pads are masked."""
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(candidate, int) and 0 <= candidate < vocab_size:
            return candidate
    return 0
