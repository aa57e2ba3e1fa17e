"""The clients of the integration guide and the readme, as they are written there, over a real broker.

Only the address is changed. The JavaScript runs in Node, where there is one with WebSocket, over stand-ins for `ws` and
`axios` that translate to what Node itself has.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).parent / "examples"

WS = """
module.exports = class {
  constructor(uri) { this.socket = new WebSocket(uri); this.handlers = new Map(); }
  on(event, handler) {
    const wrapped = event === 'message' ? (e) => handler(Buffer.from(e.data)) : handler;
    this.handlers.set(handler, wrapped);
    this.socket.addEventListener(event, wrapped);
  }
  removeListener(event, handler) { this.socket.removeEventListener(event, this.handlers.get(handler)); }
  send(text) { this.socket.send(text); }
  close() { this.socket.close(); }
};
"""
AXIOS = """
const call = async (method, url, headers, body) => {
  const response = await fetch(url, { method, headers, body: body === undefined ? body : JSON.stringify(body) });
  const data = await response.json();
  if (!response.ok) throw Object.assign(new Error(`status ${response.status}`), { response: { data } });
  return { data, status: response.status };
};
exports.create = ({ baseURL, headers }) => ({
  get: (path) => call('GET', baseURL + path, headers),
  post: (path, body) => call('POST', baseURL + path, headers, body),
});
"""


def source(name: str, url: str) -> str:
    return (EXAMPLES / name).read_text().replace("localhost:8000", url.removeprefix("http://"))


def python(name: str, url: str, before: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", before + source(name, url)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def node(name: str, url: str, directory: Path, more: str = "") -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("there is no Node.js")
    command = [program, "--experimental-websocket"]
    if subprocess.run([*command, "-e", "new Map([[1, WebSocket]])"], capture_output=True, check=False).returncode:
        pytest.skip("this Node.js has no WebSocket")
    for module, text in (("ws", WS), ("axios", AXIOS)):
        (directory / "node_modules" / module).mkdir(parents=True)
        (directory / "node_modules" / module / "index.js").write_text(text)
    script = directory / "client.js"
    script.write_text(source(name, url) + more)
    done = subprocess.run([*command, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guides_python_client(live_url: str) -> None:
    lines = python("guide_client.py.txt", live_url).splitlines()
    assert lines[0].startswith("GPS sent: {'status': 'success'")
    assert "device.health.heartrate.raw" in lines[1]


def test_the_guides_python_streamer(live_url: str) -> None:
    # The guide forgot to import what its `ping` uses.
    lines = python("guide_streamer.py.txt", live_url, "from datetime import datetime\n").splitlines()
    assert lines[0].startswith("Connected to ws://")
    assert lines[1].startswith("Test chunk result: {'type': 'ack'")
    assert lines[2].startswith("Ping response: {'message_type': 'pong'")


def test_the_guides_python_load_test(live_url: str) -> None:
    lines = python("guide_load.py.txt", live_url).splitlines()
    batches = [line for line in lines if line.startswith("Batch")]
    assert len(batches) == 10
    assert all(line.endswith(": 10/10 successful") for line in batches)


def test_the_guides_javascript_client(live_url: str, tmp_path: Path) -> None:
    told = node("guide_client.js", live_url, tmp_path)
    assert "Service health: {" in told
    assert "topic: 'device.sensor.gps.raw'" in told
    assert "processed: 2" in told


def test_the_guides_javascript_streamer(live_url: str, tmp_path: Path) -> None:
    told = node("guide_streamer.js", live_url, tmp_path)
    assert "Audio chunk result: {" in told
    assert "type: 'ack'" in told


def test_the_readmes_page(live_url: str, tmp_path: Path) -> None:
    told = node(
        "readme_stream.js", live_url, tmp_path, "\nws.onmessage = (e) => { console.log(e.data); ws.close(); };\n"
    )
    assert json.loads(told)["type"] == "ack"
