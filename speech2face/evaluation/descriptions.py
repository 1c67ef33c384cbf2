"""What every metric means, in a sentence: the only place where the reports learn it (speech2face.evaluation.describe).

A new metric needs a line in DESCRIPTIONS, and a new group of metrics a line in GROUPS. Without them a report shows the
names.
"""

# The title of each group, the first part of a metric's name, and what is compared in it.
GROUPS = {
    "retrieval": (
        "Retrieval",
        "The photos of a gallery are ordered by the distance of their embeddings to the query's. The right photo is "
        "the one of the query's person. A gallery of 100 or another number stands for every gallery of that size that "
        "could be drawn from all people: the value is what is expected over them, computed and not sampled.",
    ),
    "distance": ("Distance", "How far the query's embedding is from the embedding of the person's photo."),
    "embedding": (
        "Traits in the query's embedding",
        "A probe, which is a linear function fitted on photos of training people, reads a trait from the embedding.",
    ),
    "face": (
        "Traits in the drawn face",
        "A face is drawn from the query's embedding, and the same probes read the embedding of that picture.",
    ),
    "estimate": (
        "Traits by the estimates of the weights",
        "The encoder's weights bring linear functions that tell sex and age. They were fitted before, on other people.",
    ),
    "photo": (
        "Traits in the photo's embedding",
        "The probes read the embedding of the person's own photo. It is for reference; a query can exceed it.",
    ),
    "craniofacial": (
        "Proportions of the drawn face",
        "A ratio of lengths or areas is measured in the face drawn from the query and in the face drawn from the "
        "person's photo. The correlation is over people (Oh et al., CVPR 2019, section 4.1).",
    ),
    "consistency": ("Consistency", "Whether several queries of one person get similar embeddings."),
    "face_to_face": (
        "Faces drawn from photos",
        "The decoder draws a face from the embedding of a photo. It is compared with the person's true face, framed "
        "alike. No query takes part, so this is a bound for the decoder.",
    ),
    "judge": ("Independent judges", "Networks that took no part in drawing look at the drawn pictures."),
    "association": ("Matching of voices and faces", "Which voice and which face belong together."),
    "calibration": (
        "Calibration",
        'The prior sampled several faces per voice; their number is under "What was asked". The question is whether '
        "they spread as much as the true faces of such voices. Distances are L2 between embeddings.",
    ),
}
CONTROLS = ("skin_tone", "hair_colour")  # traits of simulated people that no voice depends on
UNITS = {"age": "years", "size": "SD"}  # of traits
SCALES = {  # of traits of simulated people
    "size": "Size is in standard deviations (SD) within a sex.",
    "skin_tone": "Skin tone is from 0, light, to 1, dark.",
}
# What stands where other metrics have their level of chance: (pattern of the name, word).
REFERENCES = (
    (r"calibration/.*_p", ""),
    (r"calibration/energy(_ratio)?", "single face"),
    (r"calibration/.*", "target"),
)


SOURCES = {
    "embedding": "the query's embedding",
    "face": "the face drawn from the query",
    "photo": "the photo's embedding",
    "estimate": "the query's embedding by the weights' own estimate",
}
PLACES = {"embedding": "embedding", "face": "drawn face", "photo": "photo", "estimate": "weights' estimate"}
SOURCE = f"(?P<source>{'|'.join(SOURCES)})/(?P<trait>[^/]+)"
VIEWS = {  # what a judge looks at
    "clip": "the face drawn from each query",
    "person": "the mean of the faces drawn from all queries of a person",
    "from_photo": "the face drawn from a photo",
    "photograph": "photographs themselves (the ceiling)",
}
JUDGE = r"judge/(?P<judge>\w+)/(?P<view>\w+)"
# (pattern of the name, label, unit, better, sentence); {name} stands for a group of the pattern.
# fmt: off
DESCRIPTIONS: tuple[tuple[str, str, str, str, str], ...] = (
    (r"retrieval/(?P<distance>\w+)/(?P<size>\w+)/R@1", "R@1 among {size} ({distance})", "%", "up",
     "Recall at 1: share of queries whose right photo is the nearest of {size} photos by {distance} distance."),
    (r"retrieval/(?P<distance>\w+)/(?P<size>\w+)/R@(?P<k>\d+)", "R@{k} among {size} ({distance})", "%", "up",
     "Recall at {k}: share of queries whose right photo is among the {k} nearest of {size} photos by {distance} "
     "distance."),
    (r"retrieval/(?P<distance>\w+)/(?P<size>\w+)/median_rank", "median rank among {size} ({distance})", "rank", "down",
     "Median place of the right photo among {size} photos ordered by {distance} distance; 1 is the best."),
    (r"distance/(?P<distance>\w+)", "{distance} distance", "", "down",
     "Mean {distance} distance of the query's embedding to that of the person's photo. Chance: to other people's."),
    (rf"{SOURCE}/accuracy", "{trait}: right ({place})", "%", "up",
     "Share of queries whose {trait} is read right from {source}."),
    (rf"{SOURCE}/error", "{trait}: error ({place})", "{unit}", "down",
     "Mean absolute error of the {trait} that is read from {source}. Chance: the same readings against other "
     "people's {trait}."),
    (rf"{SOURCE}/correlation", "{trait}: correlation ({place})", "", "up",
     "Correlation of the true {trait} and the {trait} that is read from {source}; 1 is perfect."),
    (r"craniofacial/mean", "mean of all ratios", "", "up",
     "Mean of the correlations of all ratios; 1 is perfect."),
    (r"craniofacial/(?P<ratio>\w+)", "{ratio}", "", "up",
     "Correlation of: {formula}."),
    (r"consistency/equal_error_rate", "equal error rate", "%", "down",
     "Speaker verification by the cosine of two queries' embeddings: share of wrong decisions at the threshold "
     "that refuses as many right pairs as it accepts wrong ones."),
    (r"judge/detected/(?P<view>\w+)", "a face is detected ({view})", "%", "up",
     "Share of pictures in which a face is detected, of {looked}."),
    (rf"{JUDGE}/similarity/cosine", "{judge}: cosine ({view})", "", "up",
     "Mean cosine similarity, by the judge {judge}, of {looked} to the person's photograph."),
    (rf"{JUDGE}/distance/(?P<distance>\w+)", "{judge}: {distance} distance ({view})", "", "down",
     "Mean {distance} distance, by the judge {judge}, of {looked} to the person's photograph."),
    (rf"{JUDGE}/retrieval/cosine/(?P<size>\w+)/R@(?P<k>\d+)", "{judge}: R@{k} among {size} ({view})", "%", "up",
     "Share whose photograph is among the {k} nearest of {size}, by the judge {judge}, of {looked}."),
    (rf"{JUDGE}/retrieval/cosine/(?P<size>\w+)/median_rank",
     "{judge}: median rank among {size} ({view})", "rank", "down",
     "Median place of the person's photograph among {size}, by the judge {judge}, of {looked}."),
    (rf"{JUDGE}/vggface_score", "{judge}: VGGFace Score ({view})", "", "up",
     "Inception score of {looked} by the classifier {judge}, as in SF2F (2022); it grows with the number of "
     "pictures."),
    (rf"{JUDGE}/(?P<trait>\w+)/accuracy", "{judge}: {trait} right ({view})", "%", "up",
     "Share whose {trait} is seen right by {judge}, a network trained on people, of {looked}."),
    (rf"{JUDGE}/(?P<trait>\w+)/error", "{judge}: {trait} error ({view})", "{unit}", "down",
     "Mean absolute error of the {trait} that {judge}, a network trained on people, sees in {looked}."),
    (rf"{JUDGE}/(?P<trait>\w+)/correlation", "{judge}: {trait} correlation ({view})", "", "up",
     "Correlation of the true {trait} and the one that {judge}, a network trained on people, sees in {looked}."),
    (r"calibration/energy", "energy score", "", "down",
     "Distance of a voice's samples to the true face, less half of their distance to each other (Gneiting and "
     "Raftery 2007). Single face: the distance of the single most typical face."),
    (r"calibration/energy_ratio", "energy score / single face", "", "down",
     "The energy score as a share of the distance of the single most typical face; below 1 the samples say more."),
    (r"calibration/(?P<trait>\w+)/coverage_(?P<share>\d+)", "{trait}: coverage of {share} %", "%", "",
     "Share of people whose true {trait} lies within the central {share} % interval of the samples; it should be "
     "{share} %."),
    (r"calibration/face/ranks_p", "face: ranks, p", "p", "",
     "p-value of the hypothesis that the true face has each rank among the samples equally often. Ranks are by the "
     "mean distance to the other samples. A small one tells against calibration."),
    (r"calibration/(?P<trait>\w+)/ranks_p", "{trait}: ranks, p", "p", "",
     "p-value of the hypothesis that the {trait} that the probe reads in the true face has each rank among those that "
     "it reads in the samples equally often. A small one tells against calibration."),
    (r"calibration/(?P<trait>\w+)/population_p", "{trait}: population, p", "p", "",
     "p-value of the hypothesis that samples and true faces have one distribution of {trait}. A small one tells "
     "against it."),
    (r"calibration/(?P<trait>\w+)/error", "{trait}: calibration error", "", "down",
     "Expected calibration error (Guo et al. 2017) of the share of the samples that show one {trait}, as a "
     "probability that the true face shows it; both are read by the same probe. Resampling makes it larger, so that "
     "the interval can lie above the value."),
    (r"calibration/(?P<judge>\w+)/frechet", "{judge}: Fréchet distance", "", "down",
     "Fréchet distance of the samples' and the true faces' embeddings by {judge} (Heusel et al. 2017); 0 is the best."),
    (r"calibration/(?P<judge>\w+)/precision", "{judge}: precision", "%", "up",
     "Share of samples whose embedding by {judge} lies among those of true faces (Kynkäänniemi et al. 2019)."),
    (r"calibration/(?P<judge>\w+)/recall", "{judge}: recall", "%", "up",
     "Share of true faces whose embedding by {judge} lies among those of samples (Kynkäänniemi et al. 2019)."),
    (r"calibration/sharpness_ratio", "sharpness", "", "",
     "The sharpness of the samples as a share of that of the true faces; it should be 1. Sharpness is the variance of "
     "the Laplacian in the middle of the picture, the median over people."),
    (r"calibration/diversity_ratio", "diversity", "", "",
     "The diversity of the samples as a share of that of the true faces; it should be 1. Diversity is the standard "
     "deviation over people of a pixel, the mean over pixels."),
    (r"association/verification/(?P<group>\w+)/equal_error_rate", "equal error rate ({group})", "%", "down",
     "Is the voice that of the face? Share of wrong decisions at the threshold that refuses as many right pairs as it "
     "accepts wrong ones; pairs of {who}."),
    (r"association/verification/(?P<group>\w+)/auc", "area under the curve ({group})", "%", "up",
     "Share of right pairs of a voice and a face whose cosine is above that of a wrong pair; pairs of {who}."),
    (r"association/(?P<task>voice_to_face|face_to_voice)/(?P<group>\w+)/1:(?P<n>\d+)",
     "{task}: 1 of {n} ({group})", "%", "up",
     "Share of right choices among {n}, of {who}, one of them right; {task}."),
    (r"association/(?P<task>voice_to_face|face_to_voice)/(?P<group>\w+)/mAP", "{task}: mAP ({group})", "%", "up",
     "Mean average precision among all files of {who}; {task}. Chance: a random order."),
    (r"face_to_face/psnr_db", "PSNR", "dB", "up",
     "Peak signal-to-noise ratio of the drawn and the true face, over pixels. Chance: against other people's "
     "faces."),
    (r"face_to_face/ssim", "SSIM", "", "up",
     "Structural similarity of the drawn and the true face, at most 1 (Wang et al. 2004)."),
    (r"face_to_face/landmark_error_px", "landmark error", "pixels", "down",
     "Mean distance of the drawn face's landmarks to the true ones, in pixels of a face of 224 x 224."),
    (r"face_to_face/identity_R@1", "R@1 of the drawn face", "%", "up",
     "Share of faces drawn from a photo whose embedding is nearest to that photo's, among all photos."),
)
# fmt: on
RATIOS = {  # see evaluation/ratios.py
    "upper_lip_height": "nose to mouth, in distances between the eyes",
    "lateral_upper_lip_heights": "wings of the nose to the peaks of the upper lip, in distances between the eyes",
    "jaw_width": "width of the jaw, in distances between the eyes",
    "nose_height": "height of the nose, in distances between the eyes",
    "nose_width": "width of the nose, in distances between the eyes",
    "labio_oral_region": "area of the lips, in squared distances between the eyes",
    "mandibular_index": "mouth to chin, in widths of the jaw",
    "intercanthal_index": "distance of the inner corners of the eyes, in distances of the outer ones",
    "nasal_index": "width of the nose, in its heights",
    "vermilion_height_index": "height of the upper lip, in heights of the lower lip",
    "mouth_face_width_index": "width of the mouth, in widths of the face",
    "nose_area": "area of the nose, in squared distances between the eyes",
}
WHO = {  # groups of association
    "all": "everybody",
    "listed": "the list",
    "same_sex": "people of one sex",
    "same_age": "people of one age group",
    "same_language": "people of one language",
    "same_nationality": "people of one nationality",
}
WORDS = {"l1": "L1", "l2": "L2", "all": "all"}
