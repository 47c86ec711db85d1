-- clinic: long work is kept as a job until a worker has done it once; chores are run by one process of many.
CREATE TABLE job (
  id uuid PRIMARY KEY,
  kind text NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
  status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'done', 'failed')),
  -- Who asked, with the rights he had then: the work is done in his name, by a worker that is nobody.
  actor text NOT NULL CHECK (actor ~ '^[a-z]+:[0-9a-f-]{36}$'),
  scopes text[] NOT NULL,
  branch_id uuid REFERENCES branch,
  discount_ceiling percent NOT NULL,
  role text,
  lang text NOT NULL CHECK (lang IN ('ru', 'en')),
  request_id text,
  -- json, not jsonb: answers keep their order, and a report may quote any character of a file.
  input json NOT NULL,
  file bytea,
  result json,
  problem json,
  done integer NOT NULL DEFAULT 0 CHECK (done >= 0),
  total integer CHECK (total >= 0),
  attempts smallint NOT NULL DEFAULT 0,
  -- Names the attempt that is under way: one that was given up for dead cannot finish the job any more.
  claim uuid,
  created_at timestamptz NOT NULL,
  started_at timestamptz,
  finished_at timestamptz,
  heartbeat_at timestamptz,
  CHECK ((status = 'running') = (claim IS NOT NULL)),
  CHECK ((status = 'running') <= (heartbeat_at IS NOT NULL)),
  CHECK ((status IN ('done', 'failed')) = (finished_at IS NOT NULL)),
  CHECK ((status = 'done') = (result IS NOT NULL)),
  CHECK ((status = 'failed') = (problem IS NOT NULL)),
  CHECK (finished_at IS NULL OR file IS NULL)
) WITH (fillfactor = 70);
-- Files are read once and whole; compressing them would hold up the request that brings them.
ALTER TABLE job ALTER COLUMN file SET STORAGE EXTERNAL;
CREATE INDEX job_open ON job (id) WHERE finished_at IS NULL;
CREATE INDEX job_finished ON job (finished_at) WHERE finished_at IS NOT NULL;
GRANT SELECT, INSERT ON job TO clinic_app;
GRANT UPDATE (status, file, result, problem, done, total, attempts, claim, started_at, finished_at, heartbeat_at) ON job
  TO clinic_app;

CREATE TRIGGER job_finished_stays BEFORE UPDATE ON job FOR EACH ROW
  WHEN (OLD.finished_at IS NOT NULL) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER job_kept BEFORE TRUNCATE ON job FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The application deletes no job; this forgets those that were finished a month ago.
CREATE FUNCTION job_purge() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH gone AS (DELETE FROM job WHERE finished_at < now() - interval '30 days' RETURNING 1)
  SELECT count(*) FROM gone
$$;
REVOKE EXECUTE ON FUNCTION job_purge FROM PUBLIC;
GRANT EXECUTE ON FUNCTION job_purge TO clinic_app;

-- When each chore was last run, by whichever process.
CREATE TABLE chore (
  name text PRIMARY KEY,
  ran_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE (ran_at) ON chore TO clinic_app;
