-- clinic: other systems are called with what happens, in the order of the journal, until they have heard it.
CREATE TABLE webhook (
  id uuid PRIMARY KEY,
  -- Whose events it is told, besides those of no branch; without one, all.
  branch_id uuid REFERENCES branch,
  url text NOT NULL CHECK (url ~ '^https?://' AND length(url) <= 2000),
  events text[] NOT NULL CHECK (cardinality(events) BETWEEN 1 AND 100),
  description text,
  status text NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled')),
  disabled_reason text CHECK (disabled_reason IN ('by_hand', 'gone')),
  -- Sealed under the service's secret key: whoever reads the database cannot sign with it.
  secret bytea NOT NULL,
  old_secret bytea,
  old_secret_until timestamptz,
  -- Everything up to here has its deliveries; what is beyond is read from the journal.
  position bigint NOT NULL CHECK (position >= 0),
  -- Attempts in a row that failed, whatever they delivered, and until when it is left alone for that.
  failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
  paused_until timestamptz,
  row_version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK ((status = 'disabled') = (disabled_reason IS NOT NULL)),
  CHECK ((old_secret IS NULL) = (old_secret_until IS NULL))
) WITH (fillfactor = 50);
GRANT SELECT, INSERT ON webhook TO clinic_app;
GRANT UPDATE (url, events, description, status, disabled_reason, secret, old_secret, old_secret_until, position,
              failures, paused_until, row_version, updated_at) ON webhook TO clinic_app;

CREATE FUNCTION webhook_goes_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a webhook never goes back in the journal: a replay has deliveries of its own'
    USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER webhook_goes_on BEFORE UPDATE ON webhook FOR EACH ROW
  WHEN (NEW.position < OLD.position) EXECUTE FUNCTION webhook_goes_on();
CREATE TRIGGER webhook_kept BEFORE DELETE OR TRUNCATE ON webhook
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- One message for one endpoint. What is sent never changes: every attempt sends the same id and the same bytes.
CREATE TABLE webhook_delivery (
  id uuid PRIMARY KEY,
  webhook_id uuid NOT NULL REFERENCES webhook,
  -- The event's id, by which receivers know what they have heard already.
  message_id uuid NOT NULL,
  -- Where it stands in the journal; a test message stands nowhere.
  position bigint,
  event_type text NOT NULL,
  event_at timestamptz NOT NULL,
  body text NOT NULL,
  status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'delivered', 'dead')),
  since timestamptz NOT NULL,
  next_at timestamptz NOT NULL,
  -- Attempts of the schedule that are used up; those made only to see whether the endpoint lives do not count.
  tries smallint NOT NULL DEFAULT 0 CHECK (tries >= 0),
  -- The latest attempts: when, status, milliseconds, what went wrong. Never what was answered.
  attempts jsonb NOT NULL DEFAULT '[]',
  -- The attempt that is under way, and until when nobody else may begin one.
  claim uuid,
  claimed_until timestamptz,
  finished_at timestamptz,
  UNIQUE (webhook_id, message_id),
  CHECK ((claim IS NULL) = (claimed_until IS NULL)),
  CHECK ((status = 'waiting') = (finished_at IS NULL)),
  CHECK (status = 'waiting' OR claim IS NULL)
) WITH (fillfactor = 70);
CREATE INDEX webhook_delivery_waiting ON webhook_delivery (webhook_id, position) WHERE status = 'waiting';
CREATE INDEX webhook_delivery_of ON webhook_delivery (webhook_id, id);
CREATE INDEX webhook_delivery_dead ON webhook_delivery (webhook_id, id) WHERE status = 'dead';
CREATE INDEX webhook_delivery_age ON webhook_delivery (since);
GRANT SELECT, INSERT ON webhook_delivery TO clinic_app;
GRANT UPDATE (status, since, next_at, tries, attempts, claim, claimed_until, finished_at) ON webhook_delivery
  TO clinic_app;
CREATE TRIGGER webhook_delivery_kept BEFORE TRUNCATE ON webhook_delivery
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The application deletes none; this forgets what came to its end, or waits for a disabled endpoint, so long ago.
CREATE FUNCTION webhook_delivery_purge(days integer) RETURNS bigint LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
  WITH gone AS (
    DELETE FROM webhook_delivery AS delivery
     USING webhook
     WHERE webhook.id = delivery.webhook_id
       AND delivery.since < now() - make_interval(days => greatest(days, 4))
       AND (delivery.finished_at < now() - make_interval(days => greatest(days, 4))
            OR delivery.status = 'waiting' AND webhook.status = 'disabled')
    RETURNING 1)
  SELECT count(*) FROM gone
$$;
REVOKE EXECUTE ON FUNCTION webhook_delivery_purge FROM PUBLIC;
GRANT EXECUTE ON FUNCTION webhook_delivery_purge TO clinic_app;
