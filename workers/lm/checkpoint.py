"""Builds a model from its folder, on the CPU or on the meta device, and refuses a config that does not fit the weights.

transformers fills missing tensors with random values and continues. Here every missing, surplus or misshapen tensor is a
ModelFault.
"""

import copy
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypedDict

import torch
from safetensors import SafetensorError
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    FineGrainedFP8Config,
    Mxfp4Config,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import get_configuration_file
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.utils import logging as transformers_logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from workers.lm.errors import ModelFault, first_few
from workers.lm.jsonfile import read_json

# Constants that older versions saved with the weights and models now ignore: causal masks, their fill value, rotary frequencies.
DEAD_BUFFER = re.compile(r"(?:^|\.)(?:h\.\d+\.attn\.|layers\.\d+\.attention\.)(?:masked_)?bias$|(?:^|\.)rotary_emb\.inv_freq$")

DEQUANTISED: Mapping[str, type[QuantizationConfigMixin]] = {"fp8": FineGrainedFP8Config, "mxfp4": Mxfp4Config}
"""Quantisation methods that transformers can undo on load, by their names in config files."""


def read_config(folder: Path) -> PretrainedConfig:
    """Reads the folder's config object. Raises ModelFault not_a_model_folder, unknown_architecture, config_invalid, quantized_weights,
    not_causal."""
    raw = read_json(folder / "config.json")
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a config's own validators may raise any exception
        kind = raw.get("model_type", "none")
        if str(kind) in CONFIG_MAPPING:
            raise ModelFault("config_invalid", f"config.json cannot be used: {_reason(error)} Correct it.") from error
        raise ModelFault(
            "unknown_architecture",
            f"The config's model_type {kind!r} is not known to the installed transformers without running code from the folder: "
            f"{_reason(error)}",
        ) from error
    named = raw.get("configuration_files")
    if named and (chosen := get_configuration_file(named)) != "config.json":
        raise ModelFault(
            "config_invalid",
            f"config.json refers to {chosen} (configuration_files). Rename {chosen} to config.json and keep no other.",
        )
    quantized = quantization_of(config)
    if quantized not in (None, *DEQUANTISED):
        raise ModelFault(
            "quantized_weights",
            f"This model is quantized ({quantized}). Statistics need unquantized weights: give the unquantized model. "
            f"Only {' and '.join(DEQUANTISED)} are dequantised on load.",
        )
    refuse_bidirectional(config)
    return config


def quantization_of(config: PretrainedConfig) -> str | None:
    """The method that the config's weights are quantised with; None for plain weights."""
    said = getattr(config, "quantization_config", None)
    if said is None:
        return None
    return str((said if isinstance(said, dict) else vars(said)).get("quant_method") or "unknown")


def refuse_bidirectional(config: PretrainedConfig) -> None:
    """Raises ModelFault not_causal when the config says that a token attends to later tokens."""
    parts = [config]
    with suppress(ValueError):  # a config with several text models raises ValueError; it is not a known decoder either
        parts.append(config.get_text_config())
    for part in parts:
        says = {"is_causal": getattr(part, "is_causal", True) is False}
        says["use_bidirectional_attention"] = getattr(part, "use_bidirectional_attention", None) in (True, "all")
        for key in (key for key, said in says.items() if said):
            raise ModelFault(
                "not_causal",
                f"config.json says {key}: {json.dumps(getattr(part, key))}. The model attends to later tokens, so it "
                "is not a causal language model. Give a model that generates text.",
            )


def open_model(folder: Path, config: PretrainedConfig, *, dtype: torch.dtype | str, meta: bool = False) -> PreTrainedModel:
    """The causal language model in `folder`, on the CPU, or on the meta device without reading any tensor's data.

    Weights of DEQUANTISED methods are converted to plain weights of `dtype`; on the meta device those are not compared with the files. Raises
    ModelFault unknown_architecture, config_weights_mismatch, config_invalid, weights_unreadable.
    """
    quantized = quantization_of(config)
    try:
        with quiet():
            if quantized and meta:
                with torch.device("meta"):
                    return _model_class(config).from_config(_plain(config))  # type: ignore[no-any-return]
            model, report = _model_class(config).from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                device_map="meta" if meta else None,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # mismatches are then reported by the library, and refused below with their shapes
                output_loading_info=True,
                **({"quantization_config": DEQUANTISED[quantized](dequantize=True)} if quantized else {}),
            )
    except (SafetensorError, OSError) as error:
        raise ModelFault("weights_unreadable", f"The weight files cannot be read: {_reason(error)} Copy them again.") from error
    except (MemoryError, ModelFault):
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and "memory" in str(error):
            raise
        raise ModelFault("config_invalid", f"No model can be built from config.json: {_reason(error)} Correct it.") from error
    _refuse_misfit(report)
    if quantized:
        model.config = _plain(model.config)
        model.hf_quantizer, model.is_quantized = None, False
        model = model.to(dtype)
    return model


def _plain(config: PretrainedConfig) -> PretrainedConfig:
    """A copy of the config without its quantisation settings."""
    made = copy.deepcopy(config)
    for part in (made, made.get_text_config()):
        if hasattr(part, "quantization_config"):
            del part.quantization_config
    return made


def _model_class(config: PretrainedConfig) -> type[_BaseAutoModelClass]:
    """The transformers class that builds a model from this config: a causal language model, or a multimodal model that generates text. Raises
    ModelFault unknown_architecture."""
    for auto in (AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM):
        if type(config) in auto._model_mapping and not getattr(config, "is_encoder_decoder", False):
            return auto  # type: ignore[no-any-return]
    raise _no_causal_model(config)


def _no_causal_model(config: PretrainedConfig) -> ModelFault:
    named = ", ".join(getattr(config, "architectures", None) or ["none named"])
    return ModelFault(
        "unknown_architecture",
        f"model_type {config.model_type!r} (architectures: {named}) is not a causal language model. Give a decoder-only model.",
    )


class _Report(TypedDict):
    """What the library says of the weights that it loaded; `mismatched_keys`: names, with the shapes in the file and by the config."""

    mismatched_keys: Collection[tuple[str, Sequence[int], Sequence[int]]]
    missing_keys: Collection[str]
    unexpected_keys: Collection[str]
    error_msgs: Sequence[str]


def _refuse_misfit(report: _Report) -> None:
    problems = []
    if report["mismatched_keys"]:
        shapes = sorted((name, tuple(stored), tuple(built)) for name, stored, built in report["mismatched_keys"])
        problems.append("wrong shapes: " + first_few(f"{n} is {s} in the file, {b} by the config" for n, s, b in shapes))
    if report["missing_keys"]:
        problems.append(f"tensors missing ({len(report['missing_keys'])}): {first_few(sorted(report['missing_keys']))}")
    if unexpected := sorted(name for name in report["unexpected_keys"] if not DEAD_BUFFER.search(name)):
        problems.append(f"tensors not in the config ({len(unexpected)}): {first_few(unexpected)}")
    if report["error_msgs"]:
        problems.append(first_few(report["error_msgs"]))
    if problems:
        raise ModelFault(
            "config_weights_mismatch",
            f"config.json and the weight files describe different models; {'; '.join(problems)}. Take both from the same place.",
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Turns off transformers' log messages and progress bars, because errors are raised and the caller reports progress."""
    level, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()


def _reason(error: BaseException) -> str:
    """The first line of an error's text as a sentence of at most 301 characters, with the next line where the first ends in a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])[:300].rstrip(".") + "."
