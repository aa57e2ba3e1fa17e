const WebSocket = require('ws');

class LoomAudioStreamer {
    constructor(baseURL = 'ws://localhost:8000', deviceId = 'audio-device-001') {
        this.baseURL = baseURL;
        this.deviceId = deviceId;
        this.ws = null;
    }

    async connect() {
        return new Promise((resolve, reject) => {
            const uri = `${this.baseURL}/audio/stream/${this.deviceId}`;
            this.ws = new WebSocket(uri);

            this.ws.on('open', () => {
                console.log(`Connected to ${uri}`);
                resolve();
            });

            this.ws.on('error', reject);

            this.ws.on('message', (data) => {
                const message = JSON.parse(data.toString());
                console.log('Received:', message);
            });
        });
    }

    async sendAudioChunk(audioData, sampleRate = 44100, format = 'wav') {
        const message = {
            message_type: 'audio_chunk',
            data: {
                chunk_data: audioData.toString('base64'),
                sample_rate: sampleRate,
                channels: 1,
                format: format,
                duration_ms: Math.floor(audioData.length * 1000 / (sampleRate * 2))
            }
        };

        return new Promise((resolve) => {
            this.ws.send(JSON.stringify(message));

            // Wait for acknowledgment
            const handler = (data) => {
                const response = JSON.parse(data.toString());
                if (response.type === 'ack') {
                    this.ws.removeListener('message', handler);
                    resolve(response);
                }
            };

            this.ws.on('message', handler);
        });
    }

    disconnect() {
        if (this.ws) {
            this.ws.close();
        }
    }
}

// Usage example
async function streamAudioExample() {
    const streamer = new LoomAudioStreamer();

    try {
        await streamer.connect();

        // Send test audio chunk
        const testAudio = Buffer.alloc(1024, 0); // Silence
        const result = await streamer.sendAudioChunk(testAudio);
        console.log('Audio chunk result:', result);

    } finally {
        streamer.disconnect();
    }
}

streamAudioExample().catch(console.error);
