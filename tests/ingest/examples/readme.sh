curl http://localhost:8000/healthz

curl http://localhost:8000/metrics

curl -X POST http://localhost:8000/audio/upload \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "phone-001",
    "timestamp": "2024-01-01T12:00:00Z",
    "data": "SGVsbG8gV29ybGQ=",
    "format": "wav",
    "sample_rate": 44100
  }'

curl -X POST http://localhost:8000/sensor/gps \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "phone-001",
    "timestamp": "2024-01-01T12:00:00Z",
    "latitude": 37.7749,
    "longitude": -122.4194,
    "accuracy": 5.0,
    "speed": 2.5
  }'

curl http://localhost:8000/readyz
