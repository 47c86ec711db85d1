-- billing: a patient is given an address under which he reads his quote, and nothing else.

-- Of the address only the hash of its random part is kept: who reads this table can open no link.
CREATE TABLE quote_link (
  id uuid PRIMARY KEY,
  quote_id uuid NOT NULL,
  -- The revision he was shown; a newer one is not slipped under the same address.
  revision integer NOT NULL,
  token_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
  -- The last day.
  expires_on date NOT NULL CHECK (isfinite(expires_on)),
  created_at timestamptz NOT NULL,
  created_by text NOT NULL,
  revoked_at timestamptz,
  revoked_by text,
  FOREIGN KEY (quote_id, revision) REFERENCES quote_revision,
  CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX quote_link_quote ON quote_link (quote_id, id);

CREATE FUNCTION quote_link_of_sent() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM quote_revision
              WHERE quote_id = NEW.quote_id AND revision = NEW.revision AND status IN ('draft', 'cancelled')) THEN
    RAISE EXCEPTION 'a draft is shown to nobody' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER quote_link_of_sent BEFORE INSERT ON quote_link FOR EACH ROW EXECUTE FUNCTION quote_link_of_sent();

-- A link is revoked once and for good, and nothing else of it changes.
CREATE FUNCTION quote_link_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.revoked_at IS NOT NULL
     OR to_jsonb(OLD) - '{revoked_at,revoked_by}'::text[] <> to_jsonb(NEW) - '{revoked_at,revoked_by}'::text[] THEN
    RAISE EXCEPTION 'a link is revoked once, and nothing else of it changes' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER quote_link_stays BEFORE UPDATE ON quote_link FOR EACH ROW EXECUTE FUNCTION quote_link_stays();
CREATE TRIGGER quote_link_kept BEFORE DELETE OR TRUNCATE ON quote_link
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON quote_link TO clinic_app;
GRANT UPDATE (revoked_at, revoked_by) ON quote_link TO clinic_app;
