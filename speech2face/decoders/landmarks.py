"""The 72 landmarks of a face, by part."""

LANDMARK_PARTS = {  # the 68 points of the iBUG scheme by part; the corners of the mouth belong to both lips
    "chin": 17,
    "left_brow": 5,
    "right_brow": 5,
    "nose_bridge": 4,
    "nose_tip": 5,
    "left_eye": 6,
    "right_eye": 6,
    "top_lip": 12,
    "bottom_lip": 12,
}
LANDMARKS = sum(LANDMARK_PARTS.values())
