-- clinic: a file that was looked through is kept for an hour, so that nobody has to choose it twice
CREATE TABLE kept_file (
  id uuid PRIMARY KEY,
  -- Whose it is: nobody else is given it.
  actor text NOT NULL CHECK (actor ~ '^[a-z]+:[0-9a-f-]{36}$'),
  content bytea NOT NULL,
  kept_at timestamptz NOT NULL DEFAULT now()
);
-- Read once and whole; compressing it would hold up the request that brings it.
ALTER TABLE kept_file ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE INDEX kept_file_of ON kept_file (actor, id);
GRANT SELECT, INSERT ON kept_file TO clinic_app;

-- The application deletes none by itself; this forgets those of an hour ago, and all but each person's three newest.
CREATE FUNCTION kept_file_purge() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH counted AS (
    SELECT id, kept_at, row_number() OVER (PARTITION BY actor ORDER BY kept_at DESC, id DESC) AS place FROM kept_file),
  gone AS (
    DELETE FROM kept_file
     WHERE id IN (SELECT id FROM counted WHERE place > 3 OR kept_at <= now() - interval '1 hour')
    RETURNING 1)
  SELECT count(*) FROM gone
$$;
REVOKE EXECUTE ON FUNCTION kept_file_purge FROM PUBLIC;
GRANT EXECUTE ON FUNCTION kept_file_purge TO clinic_app;
