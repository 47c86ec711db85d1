-- clinic: how often something may be done, counted for all processes alike.

-- One row for each bucket that is not empty: it has room for `most`, and empties by one each `within / most`. When it
-- would be empty again is all that has to be known of it.
CREATE TABLE rate_limit (
  name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]{0,63}$'),
  key text NOT NULL CHECK (length(key) <= 200),
  empty_at timestamptz NOT NULL,
  PRIMARY KEY (name, key)
) WITH (fillfactor = 70);
CREATE INDEX rate_limit_age ON rate_limit (empty_at);
GRANT SELECT, INSERT, DELETE ON rate_limit TO clinic_app;
GRANT UPDATE (empty_at) ON rate_limit TO clinic_app;
