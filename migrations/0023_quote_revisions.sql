-- billing: a quote goes on: drafts are edited, revisions follow one another, last days are extended, it is cancelled.

ALTER TABLE quote_revision
  ADD COLUMN cancel_reason text,
  -- What an expired one was before, and is again once its last day is extended. A trigger fills it in.
  ADD COLUMN expired_from text CHECK (expired_from IN ('draft', 'sent')),
  ADD CONSTRAINT quote_cancelled_for_a_reason CHECK ((status = 'cancelled') = (cancel_reason IS NOT NULL)),
  ADD CONSTRAINT quote_expired_from CHECK ((status = 'expired') = (expired_from IS NOT NULL));
-- Those whose day is over are looked for among the few that are open.
CREATE INDEX quote_revision_open ON quote_revision (valid_until) WHERE newest AND status IN ('draft', 'sent');

-- The only way to a later last day for a revision that is out. The reason stays here: the journal could not forget it.
CREATE TABLE quote_extension (
  quote_id uuid NOT NULL,
  revision integer NOT NULL,
  extended_from date NOT NULL,
  extended_to date NOT NULL,
  reason text NOT NULL,
  extended_by text NOT NULL,
  extended_at timestamptz NOT NULL,
  PRIMARY KEY (quote_id, revision, extended_to),
  -- Purged with the quote: the trigger below lets that pass, and nothing else.
  FOREIGN KEY (quote_id, revision) REFERENCES quote_revision ON DELETE CASCADE,
  CHECK (extended_to > extended_from)
);
CREATE TRIGGER quote_extension_frozen BEFORE UPDATE OR TRUNCATE ON quote_extension
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER quote_extension_kept BEFORE DELETE ON quote_extension
  FOR EACH ROW EXECUTE FUNCTION deleted_where_a_tombstone_stands('quote_id');
GRANT SELECT, INSERT ON quote_extension TO clinic_app;

DROP TRIGGER quote_revision_frozen ON quote_revision;
CREATE TRIGGER quote_revision_frozen BEFORE UPDATE ON quote_revision FOR EACH ROW EXECUTE FUNCTION keep_frozen(
  '{draft>sent,draft>accepted,draft>declined,draft>expired,draft>superseded,draft>cancelled,sent>accepted,sent>declined,sent>expired,sent>superseded,sent>cancelled,accepted>superseded,accepted>cancelled,expired>draft,expired>sent,expired>declined}',
  '{status,newest,invoiced,approval,row_version,updated_at,valid_until,cancel_reason,expired_from}');

-- What may move on a frozen revision moves only in the ways it should. Runs behind quote_revision_frozen, by its name.
CREATE FUNCTION quote_revision_goes_on() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF NEW.valid_until <> OLD.valid_until AND OLD.status <> 'draft'
     AND NOT EXISTS (SELECT FROM quote_extension
                      WHERE quote_id = OLD.quote_id AND revision = OLD.revision
                        AND extended_from = OLD.valid_until AND extended_to = NEW.valid_until) THEN
    RAISE EXCEPTION 'the last day of a quote that is out moves by an extension only'
      USING ERRCODE = 'restrict_violation';
  END IF;
  IF NEW.newest AND NOT OLD.newest THEN
    RAISE EXCEPTION 'a former revision stays one' USING ERRCODE = 'restrict_violation';
  END IF;
  IF NEW.status = OLD.status THEN
    IF NEW.cancel_reason IS DISTINCT FROM OLD.cancel_reason THEN
      RAISE EXCEPTION 'a reason is given once, when the quote is cancelled' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
  END IF;
  IF OLD.status = 'expired' AND NEW.status IN ('draft', 'sent')
     AND (NEW.status <> OLD.expired_from OR NEW.valid_until = OLD.valid_until) THEN
    RAISE EXCEPTION 'an expired quote comes back by an extension only, and as what it was'
      USING ERRCODE = 'restrict_violation';
  END IF;
  IF NEW.status IN ('superseded', 'cancelled')
     AND EXISTS (SELECT FROM quote_line
                  WHERE quote_id = OLD.quote_id AND revision = OLD.revision AND invoiced_quantity > 0) THEN
    RAISE EXCEPTION 'invoices stand on this revision' USING ERRCODE = 'restrict_violation';
  END IF;
  NEW.expired_from := CASE WHEN NEW.status = 'expired' THEN OLD.status END;
  RETURN NEW;
END $$;
CREATE TRIGGER quote_revision_goes_on BEFORE UPDATE ON quote_revision
  FOR EACH ROW EXECUTE FUNCTION quote_revision_goes_on();

CREATE FUNCTION quote_revision_begins_as_draft() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a revision begins as a draft' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER quote_revision_begins BEFORE INSERT ON quote_revision FOR EACH ROW
  WHEN (NEW.status <> 'draft' OR NEW.invoiced OR NOT NEW.newest) EXECUTE FUNCTION quote_revision_begins_as_draft();

-- Whether a revision is invoiced follows from its lines, as before; nothing is invoiced of one that is not accepted.
-- FOR SHARE waits for whoever supersedes or cancels it at this moment.
CREATE OR REPLACE FUNCTION quote_is_invoiced() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM (
    SELECT status FROM quote_revision
     WHERE (quote_id, revision) IN (SELECT quote_id, revision FROM touched WHERE invoiced_quantity > 0)
       FOR SHARE) AS document
    WHERE document.status <> 'accepted';
  IF FOUND THEN
    RAISE EXCEPTION 'a quote is invoiced once it is accepted' USING ERRCODE = 'restrict_violation';
  END IF;
  UPDATE quote_revision AS quote
     SET invoiced = lines.invoiced
    FROM (SELECT quote_id, revision, bool_and(invoiced_quantity = quantity) AS invoiced
            FROM quote_line
           WHERE (quote_id, revision) IN (SELECT quote_id, revision FROM touched)
           GROUP BY quote_id, revision) AS lines
   WHERE quote.quote_id = lines.quote_id AND quote.revision = lines.revision
     AND quote.invoiced <> lines.invoiced;
  RETURN NULL;
END $$;

-- As before, but the last day is no part of what is approved, so an extension keeps the approval.
CREATE OR REPLACE FUNCTION quote_keeps_approval() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
DECLARE
  free text[] := '{status,newest,invoiced,approval,row_version,updated_at,valid_until,cancel_reason,expired_from}';
BEGIN
  IF TG_OP = 'INSERT' OR NEW.approval = 'granted' AND OLD.approval <> 'granted' AND NOT quote_is_approved(NEW) THEN
    RAISE EXCEPTION 'nobody has approved this' USING ERRCODE = 'restrict_violation';
  END IF;
  IF OLD.status = 'draft' AND OLD.approval = 'granted' AND NEW.approval = 'granted'
     AND to_jsonb(OLD) - free <> to_jsonb(NEW) - free THEN
    NEW.approval := quote_limit(NEW);
  END IF;
  IF OLD.status <> NEW.status AND NEW.status IN ('sent', 'accepted') THEN
    NEW.approval := quote_approval(NEW);
    IF NEW.approval = 'required' THEN
      RAISE EXCEPTION 'a discount waits for approval'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'discount_approved';
    END IF;
  END IF;
  RETURN NEW;
END $$;

-- Of drafts only: keep_frozen and quote_lines_of_drafts see to that.
GRANT UPDATE (kind, date, valid_until, price_list, patient_party, patient_ref, comment, discount_percent,
              discount_amount, discount_reason, subtotal, discount, total, cancel_reason)
  ON quote_revision TO clinic_app;
GRANT DELETE ON quote_line TO clinic_app;
