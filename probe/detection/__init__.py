"""From judged canaries to a page: the detector of each leg, its threshold, its calibration. Pure; floor 1."""
