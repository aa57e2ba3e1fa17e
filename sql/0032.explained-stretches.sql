-- What explains answers that stretch over time: visits, trips, sessions.
-- depends: 0031.networks-learned

CREATE OR REPLACE FUNCTION loom_ingest_columns() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT '{timestamp,message_id,device_id,trace_id,span_id,source_message_id,source_message_ids,previous_message_id,
             previous_timestamp,window_end,segment_end,ended_at,stage,stage_version,run_id,kafka_partition,kafka_offset,
             received_at,stored_at,computed_at,superseded_at,audio_ref,audio_sha256,audio_size_bytes,image_ref,image_sha256,
             image_size_bytes,frame_ref,frame_sha256,frame_size_bytes}'::text[]
$$;
