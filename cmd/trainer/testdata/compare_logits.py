"""Prints how the logits of two models differ, as Transformers and PEFT compute them.

usage: compare_logits.py MODEL ADAPTER|- OTHER_MODEL OTHER_ADAPTER|-
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(2)


def logits(model_dir, adapter):
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    if adapter != "-":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    ids = torch.randint(0, model.config.vocab_size, (2, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


one, other = logits(*sys.argv[1:3]), logits(*sys.argv[3:5])
print(json.dumps({"difference": (one - other).abs().max().item(), "largest": one.abs().max().item()}))
