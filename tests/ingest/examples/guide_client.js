const axios = require('axios');

class LoomAPIClient {
    constructor(baseURL = 'http://localhost:8000') {
        this.client = axios.create({
            baseURL,
            timeout: 30000,
            headers: {
                'Content-Type': 'application/json'
            }
        });
    }

    async sendGPS(deviceId, latitude, longitude, options = {}) {
        const data = {
            device_id: deviceId,
            latitude,
            longitude,
            ...options
        };

        try {
            const response = await this.client.post('/sensor/gps', data);
            return response.data;
        } catch (error) {
            console.error('GPS send error:', error.response?.data || error.message);
            throw error;
        }
    }

    async sendHeartRate(deviceId, bpm, confidence = null) {
        const data = { device_id: deviceId, bpm };
        if (confidence !== null) {
            data.confidence = confidence;
        }

        const response = await this.client.post('/sensor/heartrate', data);
        return response.data;
    }

    async sendBatch(sensorReadings) {
        const response = await this.client.post('/sensor/batch', sensorReadings);
        return response.data;
    }

    async healthCheck() {
        const response = await this.client.get('/healthz');
        return response.data;
    }
}

// Usage example
async function main() {
    const client = new LoomAPIClient();

    try {
        // Health check
        const health = await client.healthCheck();
        console.log('Service health:', health);

        // Send GPS
        const gpsResult = await client.sendGPS('phone-001', 37.7749, -122.4194, {
            accuracy: 5.0,
            speed: 2.5
        });
        console.log('GPS result:', gpsResult);

        // Send batch data
        const batchData = [
            { device_id: 'sensor-001', sensor_type: 'temperature', value: { temp: 20.0 } },
            { device_id: 'sensor-001', sensor_type: 'humidity', value: { humidity: 60.0 } }
        ];

        const batchResult = await client.sendBatch(batchData);
        console.log('Batch result:', batchResult);

    } catch (error) {
        console.error('API Error:', error.message);
    }
}

main();
