-- clinic: money that refuses to round, branches, keys and people, repeatable calls, the journal.
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS pg_trgm;

-- numeric(15,2) would round 1.005 without a word; this refuses it.
CREATE DOMAIN rub AS numeric CHECK (scale(VALUE) <= 2 AND abs(VALUE) < 1e13);
CREATE DOMAIN percent AS numeric CHECK (scale(VALUE) <= 2 AND VALUE >= 0 AND VALUE <= 100);

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO clinic_app;
GRANT SELECT ON schema_migration TO clinic_app;

-- Stops every change of a table: for rows that are written once.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is written once: no %', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

CREATE TABLE branch (
  id uuid PRIMARY KEY,
  code text NOT NULL UNIQUE CHECK (code ~ '^[a-z0-9][a-z0-9_-]{0,31}$'),
  name text NOT NULL,
  -- Unique, so that a number is unique in the organisation, kind and year.
  prefix text NOT NULL UNIQUE CHECK (prefix ~ '^[A-ZА-ЯЁ]{0,4}$'),
  requisites jsonb,
  row_version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL
);
GRANT SELECT, INSERT ON branch TO clinic_app;
GRANT UPDATE (name, requisites, row_version) ON branch TO clinic_app;

CREATE TABLE api_key (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  prefix text NOT NULL UNIQUE,
  secret_sha256 bytea NOT NULL UNIQUE,
  scopes text[] NOT NULL,
  branch_id uuid REFERENCES branch,
  discount_ceiling percent NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz
);
GRANT SELECT, INSERT ON api_key TO clinic_app;
GRANT UPDATE (revoked_at, last_used_at) ON api_key TO clinic_app;

CREATE TABLE staff (
  id uuid PRIMARY KEY,
  login text NOT NULL UNIQUE CHECK (login ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
  password_hash text NOT NULL,
  role text NOT NULL,
  branch_id uuid REFERENCES branch,
  active boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL
);
GRANT SELECT, INSERT ON staff TO clinic_app;
GRANT UPDATE (password_hash, role, active) ON staff TO clinic_app;

-- Tried passwords by account and by address, counted for all processes alike.
CREATE TABLE sign_in_failure (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  who text NOT NULL,
  at timestamptz NOT NULL
);
CREATE INDEX sign_in_failure_who ON sign_in_failure (who, at);
GRANT SELECT, INSERT, DELETE ON sign_in_failure TO clinic_app;

CREATE TABLE staff_session (
  token_sha256 bytea PRIMARY KEY,
  staff_id uuid NOT NULL REFERENCES staff,
  created_at timestamptz NOT NULL,
  seen_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, DELETE ON staff_session TO clinic_app;
GRANT UPDATE (seen_at) ON staff_session TO clinic_app;

-- The owner of a key is the caller's record, so the row survives the rotation of the caller's secret.
CREATE TABLE idempotency (
  owner_id uuid NOT NULL,
  key text NOT NULL CHECK (length(key) BETWEEN 8 AND 255),
  fingerprint bytea NOT NULL,
  status smallint,
  headers jsonb,
  answer text,
  -- Names are not in the answer: this says which party's name stands where (JSON pointer -> party id).
  names jsonb,
  replays integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (owner_id, key)
) WITH (fillfactor = 70);
CREATE INDEX idempotency_age ON idempotency (created_at);
GRANT SELECT, INSERT, DELETE ON idempotency TO clinic_app;
GRANT UPDATE (status, headers, answer, names, replays) ON idempotency TO clinic_app;

-- Persons' names and contacts, apart from the documents that refer to them: documents are frozen, persons can be
-- forgotten. `digest` stays when the rest is erased, so the hash of a document stays checkable.
CREATE TABLE party (
  id uuid PRIMARY KEY,
  ref text NOT NULL CHECK (ref ~ '^[A-Za-z0-9._:-]{1,64}$'),
  name text,
  phone text,
  email text,
  salt bytea,
  digest bytea NOT NULL,
  erased_at timestamptz
);
CREATE INDEX party_ref ON party (ref);
GRANT SELECT, INSERT ON party TO clinic_app;

CREATE TABLE access_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  object_type text NOT NULL,
  object_id uuid NOT NULL,
  request_id text
);
CREATE INDEX access_log_object ON access_log (object_id, at);
GRANT SELECT, INSERT ON access_log TO clinic_app;
CREATE TRIGGER access_log_frozen BEFORE UPDATE OR DELETE OR TRUNCATE ON access_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The journal: one row per state change, dense positions in the order of commits, each row hashed over the one before.
CREATE TABLE journal (
  position bigint PRIMARY KEY,
  id uuid NOT NULL UNIQUE,
  type text NOT NULL,
  version smallint NOT NULL,
  at timestamptz NOT NULL,
  actor text NOT NULL,
  branch_id uuid,
  object_type text NOT NULL,
  object_id uuid NOT NULL,
  data jsonb NOT NULL,
  request_id text,
  sha256 bytea NOT NULL
);
CREATE INDEX journal_object ON journal (object_id, position);
CREATE TRIGGER journal_frozen BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE journal_head (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  position bigint NOT NULL,
  sha256 bytea NOT NULL
) WITH (fillfactor = 20);
INSERT INTO journal_head (position, sha256) VALUES (0, sha256('clinic billing journal'));
GRANT SELECT ON journal, journal_head TO clinic_app;

CREATE FUNCTION journal_digest(previous bytea, entry journal) RETURNS bytea LANGUAGE sql STABLE
SET search_path = pg_catalog AS $$
  SELECT sha256(previous || convert_to(jsonb_build_array(
    entry.position, entry.id, entry.type, entry.version,
    to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    entry.actor, entry.branch_id, entry.object_type, entry.object_id, entry.data, entry.request_id)::text, 'UTF8'))
$$;

-- The only way into the journal. Takes the head's lock, so it is the last statement before COMMIT.
CREATE FUNCTION journal_append(events jsonb, happened timestamptz, who text, request text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  head journal_head;
  entry journal;
  event jsonb;
BEGIN
  SELECT * INTO STRICT head FROM journal_head FOR UPDATE;
  FOR event IN SELECT jsonb_array_elements(events) LOOP
    head.position := head.position + 1;
    entry := ROW (head.position, event ->> 'id', event ->> 'type', event ->> 'version', happened, who,
                  event ->> 'branch_id', event ->> 'object_type', event ->> 'object_id', event -> 'data', request, NULL);
    head.sha256 := journal_digest(head.sha256, entry);
    entry.sha256 := head.sha256;
    INSERT INTO journal SELECT entry.*;
  END LOOP;
  UPDATE journal_head SET position = head.position, sha256 = head.sha256;
  RETURN head.position;
END $$;
REVOKE EXECUTE ON FUNCTION journal_append FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal_append TO clinic_app;
