#!/usr/bin/env python3
"""The FP8 folders of tests/data as transformers loads them with the package compressed-tensors: its logits against our golden ones.

    python tests/oracles/compressed_tensors_logits.py [FOLDER]      (tests/data)

in an environment with torch, transformers and compressed-tensors (tests/oracles/requirements.txt). expected.json was computed without that
package (make_fp8_models.py): "activations" must be what it computes of the folder as it is, "weights" what it computes where the config has no
input_activations.
"""
import copy
import json
import pathlib
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM

from make_models import DATA

# It computes in F32 and rounds activations there: a step of rounding that goes the other way moves a logit.
BOUNDS = {"weights": 1e-3, "activations": 0.05}


def logits(folder, config, ids):
    """The last position's, by a copy of the folder with another config."""
    with tempfile.TemporaryDirectory() as made:
        made = pathlib.Path(made)
        for file in folder.iterdir():
            (made / file.name).write_bytes(file.read_bytes())
        (made / "config.json").write_text(json.dumps(config))
        model = AutoModelForCausalLM.from_pretrained(made, attn_implementation="eager", dtype=torch.float32).eval()
        with torch.no_grad():
            return [model(torch.tensor([i])).logits[0, -1] for i in ids]


def main():
    data = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    failed = 0
    for name in ("fp8-channel", "fp8-tensor"):
        folder = data / name / "hf"
        config = json.loads((folder / "config.json").read_text())
        # Older versions wrote "frozen" for the same files; this one reads only "compressed" as stored in FP8.
        config["quantization_config"]["quantization_status"] = "compressed"
        unrounded = copy.deepcopy(config)
        unrounded["quantization_config"]["config_groups"]["group_0"]["input_activations"] = None
        expected = json.loads((data / name / "expected.json").read_text())
        for what, of in (("weights", unrounded), ("activations", config)):
            runs = expected[what]
            found = logits(folder, of, [run["ids"] for run in runs])
            worst = max(float((f - torch.tensor(run["logits"])).abs().max()) for f, run in zip(found, runs))
            print(f"{name}, {what}: within {worst:.2g}")
            failed += worst > BOUNDS[what]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
