"""What tests put in place of a notebook's parameters, so that it runs in about 25 seconds."""

from __future__ import annotations

TEST_PARAMETERS: dict[str, dict[str, object]] = {
    # notebook: {name in its `parameters` cell: value}
    "00_look_at_the_demo_run": {},
    "01_the_idea": {"counts": [1284], "pixels_per_class": 20},
    "02_cityscapes": {
        **{"images": 6, "height": 64, "width": 128, "crop": 64, "batch_size": 4},
        **{"steps": 10, "val_images": 4},
    },
    "03_pascal_voc": {
        **{"images": 12, "size": 64, "crop": 48, "batch_size": 4, "steps": 12, "val_images": 8},
    },
    "04_ade20k": {
        **{"images": 16, "size": 64, "crop": 48, "batch_size": 4, "steps": 8, "val_images": 12},
    },
    "05_coco_stuff10k": {
        **{"images": 12, "size": (64, 96), "crop": 64, "batch_size": 4, "steps": 12},
        **{"val_images": 8, "side": 72},
    },
    "06_lvis_coco_1284": {
        **{"images": 6, "size": (96, 144), "measured_classes": [21]},
        **{"measured_methods": ["streaming"], "world_images": 48, "world_val_images": 12},
        **{"batch_size": 4, "steps": 12},
    },
    "07_rare_classes": {
        **{"failing_shown": 1, "pictures_read": 12, "classes": 32, "train_images": 60},
        **{"val_images": 16, "steps": 8, "batch_size": 4},
    },
    "08_class_map": {
        **{"mapped": 60, "pictures_read": 16, "classes_per_group": 2, "pixels_given": [1, 10]},
    },
    "09_beyond_the_paper": {
        **{"classes": 40, "train_images": 80, "val_images": 16, "pixels": 1024, "batches": [4]},
        **{"heads": [("dense", 0), ("streaming", 1024)]},
        **{"seconds": 1, "pilot_steps": 3, "evaluations": 1, "variant_seconds": 0.5},
        **{"neighbours": [7]},
        **{"ks": [1, 7, 31], "drawn_pictures": 4, "drawn_pixels": 50},
    },
}
