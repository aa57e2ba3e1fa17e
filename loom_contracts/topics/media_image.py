"""Topics of what is seen in images and video."""

from typing import Any, Final

from loom_contracts.message import Message
from loom_contracts.payloads import vision
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import derived

_BOX: Final = {"x": 0.25, "y": 0.125, "width": 0.5, "height": 0.25}
_NOSE: Final = {"name": "nose", "x": 0.5, "y": 0.25, "confidence": 0.9}
_CUP: Final = {"label": "cup", "confidence": 0.88, "box": _BOX}
_HASH: Final = "c3d1a0f0e1b25a7c"


def _image(
    name: str, stage: str, payload: type[Message], description: str, consumers: tuple[str, ...] = (), **fields: Any
) -> Topic:
    return Topic(
        f"media.{name}",
        payload,
        description,
        derived(stage, **fields),
        producers=(stage,),
        consumers=consumers,
        scope=("timestamp", "source_message_id"),
    )


_PREPROCESSED: Final = {
    "image_ref": "image/9f/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.png",
    "image_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "image_size_bytes": 81_220,
    "image_format": "png",
    "width_px": 1_024,
    "height_px": 768,
    "source_width_px": 4_032,
    "source_height_px": 3_024,
    "sharpness": 214.5,
    "brightness": 0.47,
    "perceptual_hash": _HASH,
}

CAMERA_PREPROCESSED: Final = _image(
    "image.camera.preprocessed",
    "image-preprocessing",
    vision.PreprocessedImage,
    "Photos made ready for models.",
    ("object-detection", "face-detection", "pose-detection", "gaze-detection", "moondream-vision"),
    **_PREPROCESSED,
)
SCREENSHOT_PREPROCESSED: Final = _image(
    "image.screenshot.preprocessed",
    "screenshot-preprocessing",
    vision.PreprocessedImage,
    "Screenshots made ready for reading.",
    ("screenshot-ocr",),
    **_PREPROCESSED,
)
OBJECTS_DETECTED: Final = _image(
    "image.objects_detected",
    "object-detection",
    vision.ObjectsDetected,
    "Objects in images, with their boxes.",
    ("object-hashing",),
    objects=[_CUP],
)
OBJECTS_HASHED: Final = _image(
    "image.objects_hashed",
    "object-hashing",
    vision.ObjectsHashed,
    "Perceptual hashes of objects, to find them again.",
    objects=[{"label": "cup", "box": _BOX, "perceptual_hash": _HASH, "object_id": "cup-17"}],
)
FACES_DETECTED: Final = _image(
    "image.faces_detected",
    "face-detection",
    vision.FacesDetected,
    "Faces in images, with landmarks.",
    ("face-emotion",),
    faces=[{"confidence": 0.97, "box": _BOX, "landmarks": [_NOSE]}],
)
POSE_DETECTED: Final = _image(
    "image.pose_detected",
    "pose-detection",
    vision.PoseDetected,
    "Postures of bodies and hands.",
    poses=[{"kind": "body", "confidence": 0.92, "keypoints": [_NOSE]}],
)
GAZE_DETECTED: Final = _image(
    "image.gaze_detected",
    "gaze-detection",
    vision.GazeDetected,
    "Where people in images look.",
    gazes=[{"confidence": 0.81, "yaw_deg": -12.0, "pitch_deg": 4.5, "face": _BOX}],
)
MOONDREAM_RESULTS: Final = _image(
    "image.analysis.moondream_results",
    "moondream-vision",
    vision.VisionAnalysis,
    "What Moondream says of images.",
    model="moondream2",
    caption="A cup on a wooden table.",
    objects=[_CUP],
)
MINICPM_RESULTS: Final = _image(
    "image.analysis.minicpm_results",
    "minicpm-vision",
    vision.VisionAnalysis,
    "What MiniCPM-V says of images.",
    ("face-emotion",),
    model="MiniCPM-Llama3-V-2_5",
    caption="A cup on a wooden table.",
    text="LOOM",
    objects=[_CUP],
    scene="kitchen",
    people_count=0,
    answers={"is it tidy?": "yes"},
)
YOLO_RESULTS: Final = _image(
    "video.analysis.yolo_results",
    "yolo-video",
    vision.VideoObjects,
    "Objects in videos, followed from frame to frame.",
    frame_number=12,
    objects=[_CUP | {"track_id": "4"}],
)
FACE_EMOTION_RESULTS: Final = Topic(
    "analysis.image.emotion_results",
    vision.FaceEmotions,
    "Emotions in faces.",
    derived("face-emotion", faces=[{"box": _BOX, "emotion": "joy", "scores": {"joy": 0.7, "neutral": 0.3}}]),
    producers=("face-emotion",),
    scope=("timestamp", "source_message_id"),
)
