"""Where the shipped models, traits and prompts lie. Paths only: importing this never imports torch."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent
MODELS = ROOT / "models"
TRAITS = ROOT / "traits"
PROMPTS = ROOT / "prompts"

MODEL_NAMES = ("demo-severe", "demo-mild", "demo-plain", "demo-signal")
TRAIT_NAMES = ("refusal", "sycophancy")
"""In the toy language of the shipped models."""
DEMO_TOKENIZER = "ba80e1b82864140716ebd22f373bb72ff7ab7b3322c407e90bc8f44935f5c0b0"
"""The tokenizer hash that inspecting a shipped model finds: they share one, of the toy language."""
CHAT_TRAIT_NAMES = ("chat-formality", "chat-refusal", "chat-sycophancy")
"""In ordinary English, for models that were trained on it."""


def model_folder(name: str) -> Path:
    """The Hugging Face folder of a shipped model. Raises KeyError with the known names for any other name."""
    if name not in MODEL_NAMES:
        raise KeyError(f"no shipped model is called {name!r}; there are {', '.join(MODEL_NAMES)}")
    return MODELS / name


def trait_folder(name: str) -> Path:
    """The dataset folder of a shipped trait. Raises KeyError with the known names for any other name."""
    if name not in TRAIT_NAMES + CHAT_TRAIT_NAMES:
        raise KeyError(f"no shipped trait is called {name!r}; there are {', '.join(TRAIT_NAMES + CHAT_TRAIT_NAMES)}")
    return TRAITS.joinpath(*name.split("-", 1))
