-- clinic: a key's secret can be replaced while the old one still works; the record stays, and all that belongs to it.

-- Secrets are only ever recognised, so their SHA-256 is all that is kept; `prefix` tells people which one is meant.
CREATE TABLE api_key_secret (
  sha256 bytea PRIMARY KEY CHECK (length(sha256) = 32),
  key_id uuid NOT NULL REFERENCES api_key,
  prefix text NOT NULL UNIQUE CHECK (prefix ~ '^cb_[0-9a-f]{8}$'),
  created_at timestamptz NOT NULL,
  -- When a newer one takes its place for good; NULL for the one that stays.
  ends_at timestamptz,
  last_used_at timestamptz
);
CREATE UNIQUE INDEX api_key_secret_current ON api_key_secret (key_id) WHERE ends_at IS NULL;
CREATE INDEX api_key_secret_key ON api_key_secret (key_id);
INSERT INTO api_key_secret (sha256, key_id, prefix, created_at, last_used_at)
SELECT secret_sha256, id, prefix, created_at, last_used_at FROM api_key;
GRANT SELECT, INSERT ON api_key_secret TO clinic_app;
GRANT UPDATE (ends_at, last_used_at) ON api_key_secret TO clinic_app;

ALTER TABLE api_key DROP COLUMN prefix, DROP COLUMN secret_sha256, DROP COLUMN last_used_at;
GRANT UPDATE (expires_at) ON api_key TO clinic_app;

-- What has been taken back stays so, whatever the application does.
CREATE FUNCTION refuse_key_revival() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a key that is revoked stays revoked' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER api_key_stays_revoked BEFORE UPDATE ON api_key
  FOR EACH ROW WHEN (OLD.revoked_at IS NOT NULL) EXECUTE FUNCTION refuse_key_revival();
CREATE TRIGGER api_key_secret_ends_once BEFORE UPDATE ON api_key_secret
  FOR EACH ROW WHEN (OLD.ends_at IS NOT NULL AND (NEW.ends_at IS NULL OR NEW.ends_at > OLD.ends_at))
  EXECUTE FUNCTION refuse_key_revival();
