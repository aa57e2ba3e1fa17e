-- What the ingest service needs to explain a row.
-- depends: 0017.roles 0021.history

-- Which version of a stage is shown, for those who may not read the engine's own tables.
CREATE FUNCTION loom_shown_version(wanted text) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path FROM CURRENT AS $$
    SELECT version FROM stage_promotions WHERE stage = wanted
$$;
COMMENT ON FUNCTION loom_shown_version IS 'The promoted version of a stage; null where any is shown.';

-- The columns of `loom_contracts.lineage`: where a row came from and what came of it, and not what it says.
CREATE OR REPLACE FUNCTION loom_ingest_columns() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT '{timestamp,message_id,device_id,trace_id,span_id,source_message_id,source_message_ids,previous_message_id,
             previous_timestamp,window_end,segment_end,stage,stage_version,run_id,kafka_partition,kafka_offset,received_at,
             stored_at,computed_at,superseded_at,audio_ref,audio_sha256,audio_size_bytes,image_ref,image_sha256,
             image_size_bytes,frame_ref,frame_sha256,frame_size_bytes}'::text[]
$$;
