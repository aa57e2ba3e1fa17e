"""Topics of remote control: commands to devices, their answers, and what devices tell each other."""

from typing import Any, Final

from loom_contracts.message import Message
from loom_contracts.payloads import command, response, sync
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import PNG, WAV, message

_COMMAND_ID: Final = "6f1d4a52-0f0e-4a7b-9d0e-2d4c3b8b6f10"
_ISSUED: Final = {"issued_by": "laptop-001", "expires_at": "2026-01-15T08:31:00.000000Z"}


def _command(name: str, payload: type[Message], description: str, **fields: Any) -> Topic:
    return Topic(
        f"device.command.{name}",
        payload,
        description,
        message(**_ISSUED, **fields),
        producers=("remote-control",),
        consumers=("device",),
    )


def _response(name: str, payload: type[Message], description: str, **fields: Any) -> Topic:
    return Topic(
        f"device.response.{name}",
        payload,
        description,
        message(command_id=_COMMAND_ID, **fields),
        producers=("device",),
        consumers=("remote-control",),
    )


def _broadcast(name: str, payload: type[Message], description: str, **fields: Any) -> Topic:
    return Topic(
        f"device.sync.{name}.broadcast",
        payload,
        description,
        message(**fields),
        producers=("device",),
        consumers=("device",),
    )


KEYSTROKE_SEND: Final = _command(
    "keystroke.send", command.SendKeystrokes, "Keys to press on a device.", text="hello", keys=[], delay_ms=10
)
MOUSE_SEND: Final = _command(
    "mouse.send", command.SendMouse, "Moves and clicks of the pointer.", action="click", x=120.0, y=80.0, button="left"
)
CLIPBOARD_SEND: Final = _command(
    "clipboard.send", command.SendClipboard, "Content for a device's clipboard.", content="hello"
)
FILE_TRANSFER: Final = _command(
    "file.transfer",
    command.TransferFile,
    "Files to and from a device.",
    direction="to_device",
    transfer_id="transfer-0001",
    path="Documents/note.txt",
    size_bytes=5,
    sha256="2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    chunk_data="aGVsbG8=",
)
SCREEN_CAPTURE: Final = _command(
    "screen.capture", command.CaptureScreen, "Requests for a picture of the screen.", display="main", format="png"
)
AUDIO_SEND: Final = _command(
    "audio.send", command.SendAudio, "Sounds to play on a device.", audio_data=WAV, format="wav", volume=0.5
)
SHELL_EXECUTE: Final = _command(
    "shell.execute", command.ExecuteShell, "Programs to run on a device.", command="uname", arguments=["-a"]
)
APP_LAUNCH: Final = _command(
    "app.launch", command.LaunchApp, "Applications to start.", app_identifier="com.android.chrome"
)
APP_CLOSE: Final = _command(
    "app.close", command.CloseApp, "Applications to end.", app_identifier="com.android.chrome", force=False
)

COMMAND_STATUS: Final = _response(
    "command.status", response.CommandStatus, "How far commands are.", status="done", detail="clicked", result=None
)
FILE_TRANSFER_PROGRESS: Final = _response(
    "file.transfer",
    response.FileTransferProgress,
    "How far transfers of files are.",
    transfer_id="transfer-0001",
    status="done",
    transferred_bytes=5,
    size_bytes=5,
)
SCREEN_CAPTURED: Final = _response(
    "screen.capture",
    response.ScreenCapture,
    "Pictures of screens.",
    image_data=PNG,
    format="png",
    width_px=1,
    height_px=1,
)
SHELL_OUTPUT: Final = _response(
    "shell.output",
    response.ShellOutput,
    "What programs wrote.",
    stream="stdout",
    sequence=0,
    text="Linux\n",
    final=True,
    exit_code=0,
)
DEVICE_ERROR: Final = _response(
    "error",
    response.DeviceError,
    "Errors of devices.",
    code="PERMISSION_DENIED",
    message="screen recording is not allowed",
    details={"permission": "screen_recording"},
)

CLIPBOARD_BROADCAST: Final = _broadcast(
    "clipboard", sync.ClipboardBroadcast, "The clipboard, for all devices.", content="hello", content_type="text/plain"
)
FILES_BROADCAST: Final = _broadcast(
    "files",
    sync.FileBroadcast,
    "Changes of shared files.",
    path="notes/today.md",
    change="modified",
    size_bytes=812,
    modified_at="2026-01-15T08:29:58.000000Z",
)
STATE_BROADCAST: Final = _broadcast(
    "state",
    sync.StateBroadcast,
    "State of applications, for all devices.",
    app_identifier="org.example.reader",
    key="position",
    state={"page": 12},
    revision=4,
)
