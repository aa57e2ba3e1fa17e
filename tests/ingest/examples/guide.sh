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

curl -X POST http://localhost:8000/system/apps/macos \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "macbook-pro-001",
    "running_applications": [
      {
        "pid": 22914,
        "name": "Preview",
        "bundle_id": "com.apple.Preview",
        "active": true,
        "hidden": false,
        "launch_date": 1750358324.0742068
      },
      {
        "pid": 625,
        "name": "Microsoft Teams",
        "bundle_id": "com.microsoft.teams2",
        "active": false,
        "hidden": false,
        "launch_date": 1749845718.6262279
      }
    ]
  }'

curl -X POST http://localhost:8000/system/apps/android \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "android-phone-001",
    "running_applications": [
      {
        "pid": 1234,
        "name": "Chrome",
        "package_name": "com.android.chrome",
        "active": true,
        "hidden": false,
        "launch_date": 1750358324.074,
        "version_code": 5735110,
        "version_name": "119.0.6045.193"
      }
    ]
  }'

curl -X POST http://localhost:8000/system/metadata \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "macbook-pro-001",
    "metadata_type": "hardware_specs",
    "metadata": {
      "cpu": {
        "model": "Apple M1 Pro",
        "cores": 10,
        "frequency": "3.2GHz"
      },
      "memory": {
        "total_gb": 16,
        "type": "LPDDR5"
      },
      "storage": {
        "total_gb": 512,
        "type": "NVMe SSD"
      }
    }
  }'

curl -X POST http://localhost:8000/system/metadata \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "android-phone-001",
    "metadata_type": "device_capabilities",
    "metadata": {
      "sensors": ["accelerometer", "gyroscope", "gps", "proximity"],
      "cameras": {
        "front": true,
        "rear": true,
        "resolution": "4032x3024"
      },
      "connectivity": ["wifi", "bluetooth", "cellular", "nfc"]
    }
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

curl http://localhost:8000/healthz

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
