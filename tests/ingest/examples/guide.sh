curl http://localhost:8000/healthz

curl -X POST http://localhost:8000/sensor/gps \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "my-device-001",
    "latitude": 37.7749,
    "longitude": -122.4194,
    "accuracy": 5.0
  }'

curl -X POST http://localhost:8000/audio/upload \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "microphone-001",
    "chunk_data": "UklGRiQAAABXQVZFZm10IBA...",
    "sample_rate": 44100,
    "channels": 2,
    "format": "wav",
    "duration_ms": 1000
  }'

curl -X POST http://localhost:8000/sensor/gps \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "phone-001",
    "latitude": 37.7749,
    "longitude": -122.4194,
    "accuracy": 5.0,
    "speed": 2.5
  }'

curl -X POST http://localhost:8000/sensor/gps \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "phone-001",
    "latitude": 37.7749,
    "longitude": -122.4194,
    "accuracy": 5.0
  }'

curl -X POST http://localhost:8000/sensor/heartrate \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "fitbit-001",
    "bpm": 72,
    "confidence": 0.95
  }'

curl -X POST http://localhost:8000/sensor/accelerometer \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "phone-001",
    "x": 0.5,
    "y": -0.3,
    "z": 9.8
  }'

curl -X POST http://localhost:8000/sensor/batch \
  -H "Content-Type: application/json" \
  -d '[
    {
      "device_id": "sensor-001",
      "sensor_type": "temperature",
      "value": {"temp": 20.0},
      "unit": "celsius"
    },
    {
      "device_id": "sensor-001",
      "sensor_type": "humidity",
      "value": {"humidity": 60.0},
      "unit": "percent"
    }
  ]'

curl -X POST http://localhost:8000/audio/upload \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "microphone-001",
    "chunk_data": "UklGRiQAAABXQVZFZm10IBA...",
    "sample_rate": 44100,
    "channels": 1,
    "format": "wav",
    "duration_ms": 1000
  }'

curl -X POST http://localhost:8000/sensor/gps \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "test-device",
    "latitude": 0.0,
    "longitude": 0.0
  }'

curl -X POST http://localhost:8000/sensor/gps \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "test-device",
    "latitude": 91.0,
    "longitude": 0.0
  }'

curl -X POST http://localhost:8000/sensor/gps \
  -H "Content-Type: application/json" \
  -d '{
    "latitude": 0.0,
    "longitude": 0.0
  }'
