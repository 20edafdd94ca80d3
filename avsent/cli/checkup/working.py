"""avsent's own parts at work: faces, speech, the models, and one small prediction."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from avsent.cli.checkup.check import Check, State

_RESTORE_FACES = "pip install --force-reinstall face_recognition_models"


def look_at_face_models() -> Iterator[Check]:
    """Whether dlib's two files are there."""
    from avsent.extraction.faces.detection import NETWORK_FILE
    from avsent.extraction.faces.landmarks import PREDICTOR_FILE, model_file

    landmarks, network = model_file(PREDICTOR_FILE), model_file(NETWORK_FILE)
    if landmarks is None:
        advice = f"{_RESTORE_FACES}, or give your own with --landmarks"
        yield Check("face models", State.failed, f"{PREDICTOR_FILE} is not there", advice)
    elif network is None:
        told = f"{NETWORK_FILE} is not there: turned faces are missed"
        yield Check("face models", State.warning, told, _RESTORE_FACES)
    else:
        yield Check("face models", State.ok, f"landmarks and detector in {landmarks.parent}")


def look_for_faces() -> Iterator[Check]:
    """Both detectors and the landmarks at work on a picture without a face."""
    import numpy as np

    from avsent.extraction.faces.detection import FaceDetector
    from avsent.extraction.faces.landmarks import LandmarkPredictor

    picture = np.full((240, 320), 128, dtype=np.uint8)
    detector = FaceDetector()
    found = [*detector.whole(picture, 320), *detector.network_whole(picture)]
    if found:
        raise RuntimeError(f"{len(found)} faces were found in an empty picture")
    points = LandmarkPredictor()(picture, (100.0, 60.0, 200.0, 160.0))
    if not np.isfinite(points).all():
        raise RuntimeError("landmarks are no numbers")
    yield Check("face detection", State.ok, f"detectors and {len(points)} landmarks at work")


def look_for_speech() -> Iterator[Check]:
    """silero-vad loads, and hears nothing in silence."""
    import numpy as np

    from avsent.cli.checkup.versions import installed
    from avsent.extraction.utterances.voice_activity import FRAME_SAMPLES, SileroSpeechDetector

    detector = SileroSpeechDetector()
    detector.reset()
    loudest = max(detector.probabilities(np.zeros((31, FRAME_SAMPLES), dtype=np.float32)))
    if not loudest < 0.5:
        raise RuntimeError("it hears speech in silence")
    version = installed(["silero-vad"]).get("silero-vad", "version unknown")
    yield Check("silero-vad", State.ok, f"{version}, loaded")


def look_at_models() -> Iterator[Check]:
    """Each model that came along: its SHA-256, and whether it can be loaded."""
    from avsent.model.index import DEFAULT, verify_folder
    from avsent.model.index import State as Outcome

    found = verify_folder()
    for finding in found:
        name = f"model {finding.name}"
        if finding.state is Outcome.fine:
            yield Check(name, State.ok, finding.detail)
            continue
        # Only the default is needed by a prediction that names no other.
        state = State.failed if finding.name == DEFAULT else State.warning
        what, _, advice = finding.detail.rpartition("; ")
        yield Check(name, state, f"{finding.state}: {what or finding.detail}", advice)
    if DEFAULT not in [finding.name for finding in found]:
        yield Check(f"model {DEFAULT}", State.failed, "not there", "install avsent again")


def look_at_prediction(device: str) -> Iterator[Check]:
    """The whole way, with one utterance of a made-up clip without a face."""
    from avsent.cli.checkup.media import write_clip
    from avsent.options import PredictOptions
    from avsent.predictor import predict

    with tempfile.TemporaryDirectory(prefix="avsent-doctor-") as folder:
        clip, utterances = Path(folder, "clip.mp4"), Path(folder, "utterances.csv")
        write_clip(clip, 2)
        utterances.write_text("start_s,end_s\n0.2,1.8\n", encoding="utf-8")
        options = PredictOptions(utterances=utterances)
        result = predict(clip, device=device, options=options)
    if len(result.utterances) != 1:
        raise RuntimeError(f"{len(result.utterances)} utterances came of one")
    (utterance,) = result.utterances
    if not utterance.modalities["audio"].effective:
        raise RuntimeError("the voice of a clip with sound counted as missing")
    total = sum(utterance.probabilities.values())
    if not math.isclose(total, 1.0, abs_tol=1e-3):
        raise RuntimeError(f"probabilities sum to {total:.3f}")
    yield Check("prediction", State.ok, "a made-up clip was judged by its sound")
