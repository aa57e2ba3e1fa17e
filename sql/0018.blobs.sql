-- A key for each device, which its bodies in object storage are encrypted with, and the way from a body to its rows.
-- depends: 0014.pauses

CREATE TABLE device_keys (
    key_id       uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    device_id    text        NOT NULL,
    key          bytea       CHECK (octet_length(key) = 32),
    created_at   timestamptz NOT NULL DEFAULT now(),
    destroyed_at timestamptz,
    CHECK ((key IS NULL) = (destroyed_at IS NOT NULL))
);
COMMENT ON TABLE device_keys IS 'Keys of the bodies in object storage; a row without its key says that it was destroyed.';

-- What a device sends after its key was destroyed gets another.
CREATE UNIQUE INDEX device_keys_live ON device_keys (device_id) WHERE destroyed_at IS NULL;
CREATE INDEX device_keys_device ON device_keys (device_id);

-- By hash: a reference is long, and is only ever looked for as it is.
CREATE INDEX ON device_audio_raw USING hash (audio_ref);
CREATE INDEX ON device_image_camera_raw USING hash (image_ref);
CREATE INDEX ON device_video_screen_raw USING hash (frame_ref);
CREATE INDEX ON media_audio_vad_filtered USING hash (audio_ref);
