-- billing: a second person approves a discount above its author's ceiling; reasons and ceilings can be managed.

-- The past of a reason stays, so it is never deleted: it ends.
ALTER TABLE discount_reason
  ADD COLUMN row_version integer NOT NULL DEFAULT 1,
  ADD CONSTRAINT discount_reason_is_valid_some_day CHECK (NOT isempty(valid) AND NOT lower_inf(valid)),
  ADD CONSTRAINT discount_reason_has_names CHECK (name_ru <> '' AND name_en <> '');
GRANT INSERT ON discount_reason TO clinic_app;
GRANT UPDATE (name_ru, name_en, valid, row_version) ON discount_reason TO clinic_app;

ALTER TABLE discount_ceiling ADD COLUMN row_version integer NOT NULL DEFAULT 1;
INSERT INTO discount_ceiling (role, ceiling) VALUES ('senior_reception', 15);
GRANT INSERT ON discount_ceiling TO clinic_app;
GRANT UPDATE (ceiling, row_version) ON discount_ceiling TO clinic_app;

-- Who wrote what the document says last: his ceiling counts. New documents name him themselves.
ALTER TABLE quote_revision ADD COLUMN edited_by text;
ALTER TABLE quote_revision DISABLE TRIGGER USER;
UPDATE quote_revision SET edited_by = created_by FROM quote WHERE quote.id = quote_id;
ALTER TABLE quote_revision ENABLE TRIGGER USER;
ALTER TABLE quote_revision ALTER COLUMN edited_by SET NOT NULL;
ALTER TABLE invoice
  ADD COLUMN edited_by text NOT NULL DEFAULT '',
  ADD COLUMN approval text NOT NULL DEFAULT 'none' CHECK (approval IN ('none', 'required', 'granted'));
ALTER TABLE invoice DISABLE TRIGGER USER;
UPDATE invoice SET edited_by = created_by;
ALTER TABLE invoice ENABLE TRIGGER USER;
GRANT UPDATE (edited_by) ON quote_revision TO clinic_app;
GRANT UPDATE (edited_by, approval) ON invoice TO clinic_app;
-- What waits is looked for among the few that do.
CREATE INDEX quote_revision_waits ON quote_revision (updated_at) WHERE newest AND approval = 'required';
CREATE INDEX invoice_waits ON invoice (updated_at) WHERE status = 'draft' AND approval = 'required';

-- What somebody may take off a line alone, in percent: a person by the role, a program by its key, others nothing.
CREATE FUNCTION discount_ceiling_of(who text) RETURNS numeric LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT coalesce(
           CASE kind
             WHEN 'command' THEN 100
             WHEN 'key' THEN (SELECT discount_ceiling FROM api_key WHERE api_key.id = named.id)
             WHEN 'staff' THEN (SELECT ceiling FROM staff JOIN discount_ceiling USING (role) WHERE staff.id = named.id)
           END, 0)
    FROM (SELECT split_part(who, ':', 1) AS kind,
                 CASE WHEN who ~ '^[a-z]+:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                      THEN split_part(who, ':', 2)::uuid END AS id) AS named
$$;

-- A discount is rounded to kopecks, and so is each share of a document's: less than a kopeck above is no discount above.
CREATE FUNCTION discount_exceeds(gross numeric, discounts numeric, ceiling numeric) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT discounts * 100 - gross * ceiling >= 1 $$;

-- Decisions on discounts, written once. The application says who decides what on which document; all else the database
-- fills in by itself.
CREATE TABLE discount_approval (
  id uuid PRIMARY KEY,
  quote_id uuid,
  revision integer,
  invoice_id uuid REFERENCES invoice,
  decision text NOT NULL CHECK (decision IN ('granted', 'refused')),
  reason text,
  decided_by text NOT NULL,
  decided_at timestamptz NOT NULL,
  author text NOT NULL,
  ceiling percent NOT NULL,
  -- The largest discount of a line, in percent of its gross.
  highest percent NOT NULL,
  content_sha256 bytea NOT NULL,
  FOREIGN KEY (quote_id, revision) REFERENCES quote_revision,
  CHECK (num_nonnulls(quote_id, invoice_id) = 1 AND num_nonnulls(quote_id, revision) <> 1),
  CHECK (decision = 'granted' OR reason IS NOT NULL),
  CONSTRAINT discount_approved_by_another CHECK (decided_by <> author)
);
CREATE INDEX discount_approval_quote ON discount_approval (quote_id, revision) WHERE quote_id IS NOT NULL;
CREATE INDEX discount_approval_invoice ON discount_approval (invoice_id) WHERE invoice_id IS NOT NULL;
CREATE TRIGGER discount_approval_frozen BEFORE UPDATE OR DELETE OR TRUNCATE ON discount_approval
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT (id, quote_id, revision, invoice_id, decision, reason, decided_by, decided_at)
  ON discount_approval TO clinic_app;

-- What an approval is given to: the lines, their discounts, the sums, and for whom.
CREATE FUNCTION quote_discount_digest(doc quote_revision) RETURNS bytea LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT sha256(convert_to(jsonb_build_object(
    'patient', doc.patient_ref, 'price_list', doc.price_list, 'discount_percent', doc.discount_percent::text,
    'discount_amount', doc.discount_amount::text, 'discount_reason', doc.discount_reason,
    'subtotal', doc.subtotal::text, 'discount', doc.discount::text, 'total', doc.total::text,
    'lines', (
      SELECT jsonb_agg(jsonb_build_array(
               position, article, doctor_rank, doctor_id, quantity::text, service_date, unit_price::text, gross::text,
               discount_percent::text, discount_amount::text, discount_reason, discount::text, document_discount::text,
               amount::text, package_code, package_no) ORDER BY position)
        FROM quote_line WHERE quote_id = doc.quote_id AND revision = doc.revision))::text, 'UTF8'))
$$;
CREATE FUNCTION invoice_discount_digest(doc invoice) RETURNS bytea LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT sha256(convert_to(jsonb_build_object(
    'patient', doc.patient_ref, 'payer', doc.payer_ref, 'price_list', doc.price_list,
    'discount_percent', doc.discount_percent::text, 'discount_amount', doc.discount_amount::text,
    'discount_reason', doc.discount_reason,
    'subtotal', doc.subtotal::text, 'discount', doc.discount::text, 'total', doc.total::text,
    'lines', (
      SELECT jsonb_agg(jsonb_build_array(
               position, article, doctor_rank, doctor_id, quantity::text, service_date, unit_price::text, gross::text,
               discount_percent::text, discount_amount::text, discount_reason, discount::text, document_discount::text,
               amount::text, package_code, package_no) ORDER BY position)
        FROM invoice_line WHERE invoice_id = doc.id))::text, 'UTF8'))
$$;

-- Whether somebody other than whoever wrote it approved exactly what the document says now.
CREATE FUNCTION quote_is_approved(doc quote_revision) RETURNS boolean LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT EXISTS (SELECT FROM discount_approval
                  WHERE quote_id = doc.quote_id AND revision = doc.revision AND decision = 'granted'
                    AND decided_by <> doc.edited_by AND content_sha256 = quote_discount_digest(doc))
$$;
CREATE FUNCTION invoice_is_approved(doc invoice) RETURNS boolean LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT EXISTS (SELECT FROM discount_approval
                  WHERE invoice_id = doc.id AND decision = 'granted'
                    AND decided_by <> doc.edited_by AND content_sha256 = invoice_discount_digest(doc))
$$;

-- What is left to be said without an approval, by the ceilings of this moment. Lines that an invoice has from a quote
-- were judged there.
CREATE FUNCTION quote_limit(doc quote_revision) RETURNS text LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT CASE WHEN EXISTS (SELECT FROM quote_line
                            WHERE quote_id = doc.quote_id AND revision = doc.revision AND discount_exceeds(
                                    gross, discount + document_discount, (SELECT discount_ceiling_of(doc.edited_by))))
              THEN 'required' ELSE 'none' END
$$;
CREATE FUNCTION quote_approval(doc quote_revision) RETURNS text LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT CASE WHEN doc.approval = 'granted' AND quote_is_approved(doc) THEN 'granted' ELSE quote_limit(doc) END
$$;
CREATE FUNCTION invoice_limit(doc invoice) RETURNS text LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT CASE WHEN EXISTS (SELECT FROM invoice_line
                            WHERE invoice_id = doc.id AND quote_position IS NULL AND discount_exceeds(
                                    gross, discount + document_discount, (SELECT discount_ceiling_of(doc.edited_by))))
              THEN 'required'
              WHEN doc.quote_id IS NULL THEN 'none'
              ELSE (SELECT quote_approval(quote) FROM quote_revision AS quote
                     WHERE quote_id = doc.quote_id AND revision = doc.quote_revision) END
$$;
CREATE FUNCTION invoice_approval(doc invoice) RETURNS text LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT CASE WHEN doc.approval = 'granted' AND invoice_is_approved(doc) THEN 'granted' ELSE invoice_limit(doc) END
$$;

-- Fills in what is decided on, by whom it is and how far the one who decides may go.
CREATE FUNCTION discount_decision() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  quote quote_revision;
  bill invoice;
  waits boolean;
  above boolean;
BEGIN
  NEW.ceiling := discount_ceiling_of(NEW.decided_by);
  IF NEW.quote_id IS NOT NULL THEN
    SELECT * INTO STRICT quote FROM quote_revision
     WHERE quote_id = NEW.quote_id AND revision = NEW.revision FOR UPDATE;
    waits := 'required' IN (quote.approval, quote_approval(quote));
    NEW.author := quote.edited_by;
    NEW.content_sha256 := quote_discount_digest(quote);
    SELECT coalesce(max(round((discount + document_discount) * 100 / nullif(gross, 0), 2)), 0),
           bool_or(discount_exceeds(gross, discount + document_discount, NEW.ceiling)) INTO NEW.highest, above
      FROM quote_line WHERE quote_id = NEW.quote_id AND revision = NEW.revision;
  ELSE
    SELECT * INTO STRICT bill FROM invoice WHERE id = NEW.invoice_id FOR UPDATE;
    waits := 'required' IN (bill.approval, invoice_approval(bill));
    NEW.author := bill.edited_by;
    NEW.content_sha256 := invoice_discount_digest(bill);
    SELECT coalesce(max(round((discount + document_discount) * 100 / nullif(gross, 0), 2)), 0),
           bool_or(discount_exceeds(gross, discount + document_discount, NEW.ceiling)) INTO NEW.highest, above
      FROM invoice_line WHERE invoice_id = NEW.invoice_id;
  END IF;
  IF NOT waits THEN
    RAISE EXCEPTION 'no discount of this document waits for approval'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'discount_waits';
  END IF;
  IF NEW.decision = 'granted' AND above AND NEW.decided_by <> NEW.author THEN
    RAISE EXCEPTION 'the discount is above what % may give', NEW.decided_by
      USING ERRCODE = 'check_violation', CONSTRAINT = 'discount_within_approver',
            DETAIL = to_char(NEW.ceiling, 'FM990.00');
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER discount_decision BEFORE INSERT ON discount_approval
  FOR EACH ROW EXECUTE FUNCTION discount_decision();

-- «granted» is there only with an approval of what the document says, and no document goes out while one is needed.
CREATE FUNCTION quote_keeps_approval() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  free text[] := '{status,newest,invoiced,approval,row_version,updated_at}';
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
CREATE TRIGGER quote_begins_unapproved BEFORE INSERT ON quote_revision
  FOR EACH ROW WHEN (NEW.approval = 'granted') EXECUTE FUNCTION quote_keeps_approval();
CREATE TRIGGER quote_keeps_approval BEFORE UPDATE ON quote_revision
  FOR EACH ROW WHEN (NEW.discount <> 0 OR NEW.approval <> 'none' OR OLD.approval <> 'none')
  EXECUTE FUNCTION quote_keeps_approval();

CREATE FUNCTION invoice_keeps_approval() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  free text[] := '{status,paid,credited,approval,row_version,updated_at}';
BEGIN
  IF OLD.status = 'draft' AND NEW.status = 'issued' THEN
    NEW.approval := invoice_approval(NEW);
    IF NEW.approval = 'required' THEN
      RAISE EXCEPTION 'a discount waits for approval'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'discount_approved';
    END IF;
  ELSIF NEW.approval = 'granted' AND OLD.approval <> 'granted' AND 'granted' NOT IN (
          invoice_limit(NEW), CASE WHEN invoice_is_approved(NEW) THEN 'granted' ELSE 'none' END) THEN
    RAISE EXCEPTION 'nobody has approved this' USING ERRCODE = 'restrict_violation';
  ELSIF OLD.status = 'draft' AND OLD.approval = 'granted' AND NEW.approval = 'granted'
        AND to_jsonb(OLD) - free <> to_jsonb(NEW) - free THEN
    NEW.approval := invoice_limit(NEW);
  END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION invoice_begins_with_approval() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF NEW.quote_id IS NULL AND NEW.approval = 'granted' THEN
    RAISE EXCEPTION 'nobody has approved this' USING ERRCODE = 'restrict_violation';
  END IF;
  IF NEW.quote_id IS NOT NULL THEN
    SELECT quote_approval(quote) INTO STRICT NEW.approval FROM quote_revision AS quote
     WHERE quote_id = NEW.quote_id AND revision = NEW.quote_revision;
    IF NEW.approval = 'required' THEN
      RAISE EXCEPTION 'a discount of the quote waits for approval'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'discount_approved';
    END IF;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER invoice_begins_with_approval BEFORE INSERT ON invoice
  FOR EACH ROW WHEN (NEW.discount <> 0 OR NEW.approval <> 'none') EXECUTE FUNCTION invoice_begins_with_approval();
CREATE TRIGGER invoice_keeps_approval BEFORE UPDATE ON invoice
  FOR EACH ROW WHEN (NEW.discount <> 0 OR NEW.approval <> 'none' OR OLD.approval <> 'none')
  EXECUTE FUNCTION invoice_keeps_approval();

-- Lines follow their document, as before; and with other lines what was approved is another thing.
CREATE OR REPLACE FUNCTION quote_lines_of_drafts() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
DECLARE
  frozen boolean;
  approved boolean;
BEGIN
  SELECT bool_or(status <> 'draft'), bool_or(approval = 'granted') INTO frozen, approved FROM (
    SELECT status, approval FROM quote_revision
     WHERE (quote_id, revision) IN (SELECT quote_id, revision FROM touched) FOR SHARE) AS document;
  IF frozen THEN
    RAISE EXCEPTION 'lines of a sent quote are frozen' USING ERRCODE = 'restrict_violation';
  END IF;
  IF approved THEN
    UPDATE quote_revision SET approval = quote_limit(quote_revision)
     WHERE (quote_id, revision) IN (SELECT quote_id, revision FROM touched)
       AND approval = 'granted' AND NOT quote_is_approved(quote_revision);
  END IF;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION invoice_lines_of_drafts() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
DECLARE
  frozen boolean;
  approved boolean;
BEGIN
  SELECT bool_or(status <> 'draft'), bool_or(approval = 'granted') INTO frozen, approved FROM (
    SELECT status, approval FROM invoice WHERE id IN (SELECT invoice_id FROM touched) FOR SHARE) AS document;
  IF frozen THEN
    RAISE EXCEPTION 'lines of an issued invoice are frozen' USING ERRCODE = 'restrict_violation';
  END IF;
  IF approved THEN
    UPDATE invoice SET approval = invoice_limit(invoice)
     WHERE id IN (SELECT invoice_id FROM touched) AND approval = 'granted' AND NOT invoice_is_approved(invoice);
  END IF;
  RETURN NULL;
END $$;
