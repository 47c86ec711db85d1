-- billing: quotes that came to nothing are forgotten with the persons they name, and their codes never come again.

-- What stays of a purged quote: nothing of a person, and enough for its paper to be known.
CREATE TABLE quote_tombstone (
  id uuid PRIMARY KEY,
  code text NOT NULL UNIQUE,
  branch_id uuid NOT NULL REFERENCES branch,
  -- The newest one, as are the sum and the days.
  revision integer NOT NULL,
  date date NOT NULL,
  valid_until date NOT NULL,
  total rub NOT NULL,
  created_at timestamptz NOT NULL,
  purged_at timestamptz NOT NULL
);
CREATE TRIGGER quote_tombstone_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON quote_tombstone
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT ON quote_tombstone TO clinic_app;

-- Whether a quote came to nothing long enough ago: no revision of it is accepted, the last day of each is over for more
-- than so many days, and no invoice was ever made from it, whatever became of the invoice.
CREATE FUNCTION quote_is_spent(quote uuid, day date, days integer) RETURNS boolean LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT coalesce(bool_and(status <> 'accepted' AND NOT invoiced AND valid_until < day - days), false)
         AND NOT EXISTS (SELECT FROM invoice WHERE invoice.quote_id = quote_is_spent.quote)
    FROM quote_revision WHERE quote_id = quote_is_spent.quote
$$;

-- The promise is about rows, not about who asks: a tombstone is set only for a quote that is spent by the database's own
-- calendar (a day of leeway for the clinic's zone), thirty days at least; it says what the quote said; and rows of quotes
-- are deleted only where a tombstone stands. That holds for the owner's hand too.
CREATE FUNCTION quote_tombstone_of_spent() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF NOT quote_is_spent(NEW.id, current_date + 1, 30) OR NOT EXISTS (
       SELECT FROM quote JOIN quote_revision AS newest ON newest.quote_id = quote.id AND newest.newest
        WHERE quote.id = NEW.id
          AND (quote.code, quote.branch_id, newest.revision, newest.date, newest.valid_until, newest.total,
               quote.created_at)
              = (NEW.code, NEW.branch_id, NEW.revision, NEW.date, NEW.valid_until, NEW.total, NEW.created_at)) THEN
    RAISE EXCEPTION 'only a quote that came to nothing is purged' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER quote_tombstone_of_spent BEFORE INSERT ON quote_tombstone
  FOR EACH ROW EXECUTE FUNCTION quote_tombstone_of_spent();

-- Purging is told, at COMMIT at the latest, and leaves nothing behind.
CREATE FUNCTION quote_tombstone_is_told() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF (SELECT count(*) FROM journal WHERE object_id = NEW.id AND type = 'quote.purged') <> 1
     OR EXISTS (SELECT FROM quote WHERE id = NEW.id) THEN
    RAISE EXCEPTION 'the purge of quote % is not whole, or not in the journal', NEW.id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER quote_tombstone_is_told AFTER INSERT ON quote_tombstone DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION quote_tombstone_is_told();

CREATE FUNCTION deleted_where_a_tombstone_stands() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM quote_tombstone WHERE id = (to_jsonb(OLD) ->> TG_ARGV[0])::uuid) THEN
    RAISE EXCEPTION '% is written once: no %', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN OLD;
END $$;
DROP TRIGGER quote_kept ON quote;
DROP TRIGGER quote_revision_kept ON quote_revision;
DROP TRIGGER quote_link_kept ON quote_link;
DROP TRIGGER discount_approval_frozen ON discount_approval;
CREATE TRIGGER quote_kept BEFORE DELETE ON quote
  FOR EACH ROW EXECUTE FUNCTION deleted_where_a_tombstone_stands('id');
CREATE TRIGGER quote_revision_kept BEFORE DELETE ON quote_revision
  FOR EACH ROW EXECUTE FUNCTION deleted_where_a_tombstone_stands('quote_id');
CREATE TRIGGER quote_link_kept BEFORE DELETE ON quote_link
  FOR EACH ROW EXECUTE FUNCTION deleted_where_a_tombstone_stands('quote_id');
CREATE TRIGGER discount_approval_kept BEFORE DELETE ON discount_approval
  FOR EACH ROW EXECUTE FUNCTION deleted_where_a_tombstone_stands('quote_id');
CREATE TRIGGER quote_link_not_emptied BEFORE TRUNCATE ON quote_link
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER discount_approval_frozen BEFORE UPDATE OR TRUNCATE ON discount_approval
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Neither id nor code comes again. After the insert, so that who waited for a purge sees its tombstone.
CREATE FUNCTION quote_never_again() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM quote_tombstone WHERE id = NEW.id)
     OR EXISTS (SELECT FROM quote_tombstone WHERE code = NEW.code) THEN
    RAISE EXCEPTION 'this quote was purged' USING ERRCODE = 'unique_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER quote_never_again AFTER INSERT ON quote FOR EACH ROW EXECUTE FUNCTION quote_never_again();

-- Whoever deletes a person's row asks each table that may name it.
CREATE INDEX quote_revision_party ON quote_revision (patient_party) WHERE patient_party IS NOT NULL;
CREATE INDEX invoice_patient_party ON invoice (patient_party) WHERE patient_party IS NOT NULL;
CREATE INDEX invoice_payer_party ON invoice (payer_party);
CREATE INDEX payment_payer_party ON payment (payer_party);

-- The only way: purges up to `most` quotes whose last day was more than `days` days before `day`, and tells which. Quotes
-- that somebody holds are passed by, so that nobody waits. Every statement looks anew: what was accepted before the lock
-- was had is seen to be accepted.
CREATE FUNCTION quote_purge(day date, days integer, most integer, at timestamptz)
RETURNS SETOF quote_tombstone LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  due uuid[];
  persons uuid[];
  person uuid;
BEGIN
  SELECT array_agg(held.id) INTO due FROM (
    SELECT quote.id
      FROM quote
      JOIN quote_revision AS revision ON revision.quote_id = quote.id AND revision.newest
     WHERE revision.status <> 'accepted' AND revision.valid_until < day - days AND quote_is_spent(quote.id, day, days)
     ORDER BY quote.id
     LIMIT most
       FOR UPDATE OF quote, revision SKIP LOCKED) AS held;
  due := ARRAY(SELECT id FROM unnest(due) AS id WHERE quote_is_spent(id, day, days));
  persons := ARRAY(SELECT DISTINCT patient_party FROM quote_revision
                    WHERE quote_id = ANY (due) AND patient_party IS NOT NULL);
  INSERT INTO quote_tombstone (id, code, branch_id, revision, date, valid_until, total, created_at, purged_at)
  SELECT quote.id, quote.code, quote.branch_id, newest.revision, newest.date, newest.valid_until, newest.total,
         quote.created_at, at
    FROM quote JOIN quote_revision AS newest ON newest.quote_id = quote.id AND newest.newest
   WHERE quote.id = ANY (due);
  -- One statement: the lines of a revision that was sent are frozen as long as it is there.
  WITH links AS (DELETE FROM quote_link WHERE quote_id = ANY (due)),
       approvals AS (DELETE FROM discount_approval WHERE quote_id = ANY (due)),
       lines AS (DELETE FROM quote_line WHERE quote_id = ANY (due)),
       revisions AS (DELETE FROM quote_revision WHERE quote_id = ANY (due))
  DELETE FROM quote WHERE id = ANY (due);
  FOREACH person IN ARRAY persons LOOP
    BEGIN
      DELETE FROM party WHERE id = person;
    EXCEPTION WHEN foreign_key_violation THEN
      NULL;  -- another document names this row
    END;
  END LOOP;
  RETURN QUERY SELECT * FROM quote_tombstone WHERE id = ANY (due) ORDER BY id;
END $$;
REVOKE EXECUTE ON FUNCTION quote_purge FROM PUBLIC;
GRANT EXECUTE ON FUNCTION quote_purge TO clinic_app;
