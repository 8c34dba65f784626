"""The main job from end to end, step by step; `scripts/run_main_job.py` tells the story."""
