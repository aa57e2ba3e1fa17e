-- Who may do what. Four group roles that nobody logs in as; a process logs in as a member of one. Roles belong to the
-- server, and what they may do to this database: `loom_grant()` puts both right, at the end of every `loom db migrate` and
-- of every restore.
-- depends: 0014.pauses

-- What a table is, which says who may do what with it. A new table needs no grants of its own: by its columns it is landed
-- or derived, else it is `control`, the stream engine's own.
CREATE FUNCTION loom_table_kind(target regclass) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN c.relname LIKE '\_yoyo%' OR c.relname LIKE 'yoyo%' THEN 'internal'
        WHEN c.relname IN ('audit_log') THEN 'audit'
        WHEN c.relname IN ('device_keys') THEN 'keys'
        WHEN c.relname IN ('api_keys', 'homeassistant_registrations') THEN 'access'
        WHEN c.relname IN ('devices', 'device_activity', 'client_identities', 'activitywatch_buckets') THEN 'register'
        WHEN c.relname IN ('erasures', 'timeseries_tables', 'migration_checksums') THEN 'record'
        WHEN c.relkind IN ('v', 'm') THEN 'view'
        WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'kafka_offset') THEN 'landed'
        WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'superseded_at') THEN 'derived'
        ELSE 'control'
    END
    FROM pg_class c WHERE c.oid = target
$$;
COMMENT ON FUNCTION loom_table_kind IS 'landed, derived, register, access, audit, keys, record, view, control or internal.';

-- What `role` may do with the tables of `kind`. Only the stream engine's role writes landed and derived rows.
CREATE FUNCTION loom_privileges(role text, kind text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(CASE role
        WHEN 'loom_ingest' THEN CASE kind
            WHEN 'register' THEN '{INSERT,SELECT,UPDATE}'
            WHEN 'access' THEN '{INSERT,SELECT,UPDATE}'
            WHEN 'audit' THEN '{INSERT,SELECT}'
        END
        WHEN 'loom_stream' THEN CASE kind
            WHEN 'landed' THEN '{INSERT,SELECT}'
            WHEN 'derived' THEN '{INSERT,SELECT,UPDATE}'
            WHEN 'control' THEN '{DELETE,INSERT,SELECT,UPDATE}'
            WHEN 'keys' THEN '{INSERT,SELECT}'
            WHEN 'register' THEN '{SELECT}'
            WHEN 'record' THEN '{SELECT}'
            WHEN 'view' THEN '{SELECT}'
        END
        WHEN 'loom_read' THEN CASE WHEN kind IN ('landed', 'derived', 'control', 'register', 'record', 'view') THEN '{SELECT}' END
        WHEN 'loom_migrate' THEN CASE WHEN kind = 'view' THEN '{SELECT}' ELSE '{DELETE,INSERT,SELECT,TRUNCATE,UPDATE}' END
    END, '{}')::text[]
$$;

-- What the ingest service reads of rows beyond its own tables: what ActivityWatch's clients ask back, and of every row
-- where it came from and what came of it, without what it says.
CREATE FUNCTION loom_ingest_columns() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT '{timestamp,message_id,device_id,trace_id,span_id,source_message_id,source_message_ids,previous_message_id,stage,
             stage_version,run_id,kafka_partition,kafka_offset,received_at,stored_at,computed_at,superseded_at,audio_ref,
             image_ref,video_ref,audio_sha256,image_sha256,video_sha256,audio_size_bytes,image_size_bytes,video_size_bytes,
             window_end,segment_end,previous_timestamp}'::text[]
$$;

-- Makes the group roles that are missing and puts every grant right; the roles that it could not make. What is right is
-- left alone, so that it disturbs nobody at work.
CREATE FUNCTION loom_grant() RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    roles     text[] := '{loom_ingest,loom_stream,loom_read,loom_migrate}';
    missing   text[] := '{}';
    schema    text := current_schema();
    owned     boolean;
    role      text;
    target    record;
    wanted    text[];
    found     text[];
    columns   text;
    definers  text[] := '{loom_ensure_partitions}';
BEGIN
    FOREACH role IN ARRAY roles LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL; -- another database's migration was quicker
                WHEN insufficient_privilege THEN missing := missing || role;
            END;
        END IF;
    END LOOP;
    roles := ARRAY(SELECT r FROM unnest(roles) r WHERE r <> ALL (missing));

    SELECT pg_has_role(datdba, 'USAGE') INTO owned FROM pg_database WHERE datname = current_database();
    IF owned AND has_database_privilege('public', current_database(), 'TEMPORARY') THEN
        -- a role that may only read makes no tables, temporary ones either
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    END IF;
    FOREACH role IN ARRAY roles LOOP
        IF NOT has_schema_privilege(role, schema, 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', schema, role);
        END IF;
        IF NOT has_database_privilege(role, current_database(), 'CONNECT') THEN
            EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
        END IF;
        IF owned AND role IN ('loom_stream', 'loom_migrate') AND NOT has_database_privilege(role, current_database(), 'TEMPORARY') THEN
            EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), role);
        END IF;
        IF role = 'loom_migrate' AND NOT has_schema_privilege(role, schema, 'CREATE') THEN
            EXECUTE format('GRANT CREATE ON SCHEMA %I TO %I', schema, role);
        END IF;
    END LOOP;

    FOR target IN
        SELECT c.oid, c.relname, c.relkind, c.relacl, loom_table_kind(c.oid) AS kind FROM pg_class c
        WHERE c.relnamespace = schema::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')
        ORDER BY c.relname
    LOOP
        FOREACH role IN ARRAY roles LOOP
            wanted := loom_privileges(role, target.kind);
            IF role = 'loom_ingest' AND target.relname IN ('digital_activitywatch_raw', 'digital_activitywatch_events') THEN
                wanted := '{SELECT}';
            END IF;
            found := ARRAY(SELECT a.privilege_type FROM aclexplode(target.relacl) a
                           WHERE a.grantee = role::regrole ORDER BY a.privilege_type COLLATE "C");
            IF found <> wanted THEN
                EXECUTE format('REVOKE ALL ON TABLE %I FROM %I', target.relname, role);
                IF cardinality(wanted) > 0 THEN
                    EXECUTE format('GRANT %s ON TABLE %I TO %I', array_to_string(wanted, ', '), target.relname, role);
                END IF;
            END IF;
        END LOOP;
        IF 'loom_ingest' = ANY (roles) AND target.kind IN ('landed', 'derived') THEN
            SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
            WHERE attrelid = target.oid AND attname = ANY (loom_ingest_columns())
              AND NOT has_column_privilege('loom_ingest', target.oid, attnum, 'SELECT');
            IF columns IS NOT NULL THEN
                EXECUTE format('GRANT SELECT (%s) ON TABLE %I TO loom_ingest', columns, target.relname);
            END IF;
        END IF;
    END LOOP;

    FOR target IN SELECT oid, relname FROM pg_class WHERE relnamespace = schema::regnamespace AND relkind = 'S' LOOP
        FOREACH role IN ARRAY roles LOOP
            IF role IN ('loom_stream', 'loom_migrate') AND NOT has_sequence_privilege(role, target.oid, 'USAGE') THEN
                EXECUTE format('GRANT USAGE ON SEQUENCE %I TO %I', target.relname, role);
            END IF;
        END LOOP;
    END LOOP;

    -- A partition can be made only by the table's owner, and the stream engine makes the day's when a record of it comes.
    FOR target IN
        SELECT p.oid::regprocedure AS signature, p.oid, p.prosecdef FROM pg_proc p
        WHERE p.pronamespace = schema::regnamespace AND p.proname = ANY (definers)
    LOOP
        IF NOT target.prosecdef THEN
            EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp', target.signature, schema);
        END IF;
        IF has_function_privilege('public', target.oid, 'EXECUTE') THEN
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', target.signature);
        END IF;
        FOREACH role IN ARRAY roles LOOP
            IF role IN ('loom_stream', 'loom_migrate') AND NOT has_function_privilege(role, target.oid, 'EXECUTE') THEN
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', target.signature, role);
            END IF;
        END LOOP;
    END LOOP;
    RETURN missing;
END $$;
COMMENT ON FUNCTION loom_grant IS 'Makes Loom''s group roles and puts every grant right; the roles that it could not make.';
