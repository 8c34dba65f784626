"""The main job from end to end, step by step; `__main__.py` tells the story."""
