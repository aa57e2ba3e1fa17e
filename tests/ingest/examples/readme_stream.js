const ws = new WebSocket('ws://localhost:8000/audio/stream/phone-001');
ws.onopen = () => {
  ws.send(JSON.stringify({
    timestamp: new Date().toISOString(),
    data: "SGVsbG8gV29ybGQ=",
    format: "wav",
    sample_rate: 44100
  }));
};
