-- clinic: accounts managed by administrators and by their owners; sessions seen and ended one by one; second factors.

ALTER TABLE staff
  ADD COLUMN row_version integer NOT NULL DEFAULT 1,
  -- Somebody else knows it: it is good for nothing but setting another one.
  ADD COLUMN password_is_temporary boolean NOT NULL DEFAULT false,
  ADD COLUMN signed_in_at timestamptz,
  -- Who comes in by the identity provider has no password with us.
  ALTER COLUMN password_hash DROP NOT NULL;
GRANT UPDATE (branch_id, row_version, password_is_temporary, signed_in_at) ON staff TO clinic_app;

-- A clinic must stay administrable. The lock makes two who would both go do so one after another, and the second looks
-- when the first is gone.
CREATE FUNCTION keep_an_administrator() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('clinic administrators'));
  IF NOT EXISTS (SELECT FROM staff WHERE role = 'administrator' AND active AND branch_id IS NULL) THEN
    RAISE EXCEPTION 'the last administrator of all branches stays'
      USING ERRCODE = 'restrict_violation', CONSTRAINT = 'last_administrator';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER staff_keeps_an_administrator AFTER UPDATE OR DELETE ON staff
  FOR EACH ROW WHEN (OLD.role = 'administrator' AND OLD.active AND OLD.branch_id IS NULL)
  EXECUTE FUNCTION keep_an_administrator();

-- People sign in again after this: sessions of before say neither when they end nor where they are.
DELETE FROM staff_session;
ALTER TABLE staff_session
  ADD COLUMN id uuid NOT NULL UNIQUE,
  ADD COLUMN ends_at timestamptz NOT NULL,
  -- The password was right, and the code of the second factor is still to come.
  ADD COLUMN needs_code boolean NOT NULL DEFAULT false,
  ADD COLUMN device text NOT NULL CHECK (length(device) <= 100);
CREATE INDEX staff_session_staff ON staff_session (staff_id);

-- Wrong passwords are counted in rate_limit now.
DROP TABLE sign_in_failure;

-- What a session was opened on does not hold any more.
CREATE FUNCTION end_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM staff_session WHERE staff_id = NEW.id;
  RETURN NULL;
END $$;
CREATE TRIGGER staff_change_ends_sessions AFTER UPDATE ON staff
  FOR EACH ROW WHEN (OLD.password_hash IS DISTINCT FROM NEW.password_hash OR OLD.role <> NEW.role
                     OR OLD.branch_id IS DISTINCT FROM NEW.branch_id OR OLD.active <> NEW.active)
  EXECUTE FUNCTION end_sessions();

-- Time-based codes (RFC 6238). The secret is sealed; `last_step` is the newest half minute whose code was used, so
-- that no code is good twice.
CREATE TABLE second_factor (
  staff_id uuid PRIMARY KEY REFERENCES staff,
  sealed bytea NOT NULL,
  last_step bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  confirmed_at timestamptz
);
GRANT SELECT, INSERT, DELETE ON second_factor TO clinic_app;
GRANT UPDATE (sealed, last_step, created_at, confirmed_at) ON second_factor TO clinic_app;

CREATE FUNCTION refuse_used_code() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a code is good once' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER second_factor_goes_on BEFORE UPDATE ON second_factor
  FOR EACH ROW WHEN (NEW.last_step < OLD.last_step) EXECUTE FUNCTION refuse_used_code();

-- For who has lost the device: 80 random bits each, so a fast hash is enough.
CREATE TABLE recovery_code (
  staff_id uuid NOT NULL REFERENCES second_factor ON DELETE CASCADE,
  sha256 bytea NOT NULL CHECK (length(sha256) = 32),
  used_at timestamptz,
  PRIMARY KEY (staff_id, sha256)
);
GRANT SELECT, INSERT, DELETE ON recovery_code TO clinic_app;
GRANT UPDATE (used_at) ON recovery_code TO clinic_app;
CREATE TRIGGER recovery_code_is_used_once BEFORE UPDATE ON recovery_code
  FOR EACH ROW WHEN (OLD.used_at IS NOT NULL) EXECUTE FUNCTION refuse_used_code();

-- Who an account is at the identity provider; what it calls him there never changes (OpenID Connect Core, 5.7).
CREATE TABLE staff_identity (
  issuer text NOT NULL CHECK (length(issuer) <= 500),
  subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
  staff_id uuid NOT NULL UNIQUE REFERENCES staff,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (issuer, subject)
);
GRANT SELECT, INSERT, DELETE ON staff_identity TO clinic_app;
