"""A Segment Anything with random weights that is small enough for tests."""

from __future__ import annotations

from pathlib import Path

import torch


def save_small_sam(folder: Path) -> Path:
    """Writes its folder; inputs have 64 pixels a side."""
    import transformers

    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 32,
            "output_channels": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "window_size": 2,
            "global_attn_indexes": [1],
            "num_pos_feats": 16,
            "mlp_dim": 64,
            "mlp_ratio": 2.0,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
    )
    model = transformers.SamModel(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 2 / weight[0].numel() ** 0.5, generator=generator)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    return folder
