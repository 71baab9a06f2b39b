"""The README's figures that no command prints: the calibration of demo-severe is the shipped one, the limits are the settings' defaults."""

import json
import re
from pathlib import Path

from app.settings import LimitSettings
from binnacle.cli.show import SCOPES
from binnacle.words.massive import LIMITS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
REPORT = ROOT / "shipped" / "models" / "demo-severe" / "report.json"
"""The measurements that the model's card shows."""
LAYER = re.compile(r"^ (\d+) +(\d+) \((\S+)x\).*  (\S+) +(\S+)$", re.MULTILINE)
"""A layer of the block: its number, its first dim with the ratio, the mean norm and the median norm without massive dims."""


def test_the_calibration_is_the_shipped_one() -> None:
    """Left out: dims after the first of a layer, which report.json does not hold."""
    known = json.loads(REPORT.read_text(encoding="utf-8"))["calibration"]["calibration_50"]
    [block] = re.findall(r"^```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    dim, mild, severe = known["dominant_dim"], *LIMITS
    ratio = f"{known['ratios']['ratio_to_median']:g}"
    assert dict(re.findall(r"^(\w.*?)  +(\S.*)$", block, re.MULTILINE)) == {
        "severity": f"{known['verdict']}, {SCOPES[known['scope']]}",
        "dominant dim": f"{dim}, {known['share_of_squared_norm']:.2%} of the squared norm",
        "ratio_to_median": f"{ratio}  (mean size over the median dim's; mild from {mild:g}, severe from {severe:g})",
        f"massive dims ({known['massive_rule']})": ", ".join(map(str, known["massive_dims"])),
    }
    layers = LAYER.findall(block)
    assert [layer for layer, *_ in layers] == ["0", "3"]
    for layer, *shown in layers:
        figures = (known["per_layer"][layer]["ratio"], known["layer_norms"][layer], known["clean_norms"][layer])
        assert shown == [str(dim), *(f"{figure:g}" for figure in figures)]


def test_the_limits_are_the_defaults_of_the_settings() -> None:
    default = {name: field.default for name, field in LimitSettings.model_fields.items()}
    assert (
        f"One request may ask for {default['prompts']:,} prompts, {default['new_tokens']:,} new tokens each and {default['tokens']:,} "
        f"generated tokens in all, a study for {default['study_jobs']:,} jobs (`BINNACLE_LIMIT_*`)."
    ) in README
