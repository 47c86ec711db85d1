-- billing: credit notes by line, quantity and amount; who issued an invoice.

-- What of a line is credited moves by the owner's trigger alone, and is never more than the line. Who credits all of a
-- line credits all of its VAT; who takes all of its services back takes back all of its money.
ALTER TABLE invoice_line
  ADD COLUMN credited_quantity numeric NOT NULL DEFAULT 0,
  ADD COLUMN credited_amount rub NOT NULL DEFAULT 0,
  ADD COLUMN credited_vat rub NOT NULL DEFAULT 0;
ALTER TABLE invoice ADD COLUMN issued_by text;

-- A draft only inside the transaction that makes it: the number is taken last.
ALTER TABLE credit_note
  ADD COLUMN status text NOT NULL DEFAULT 'issued' CHECK (status IN ('draft', 'issued')),
  ADD COLUMN supplier jsonb,
  ADD COLUMN content_sha256 bytea,
  ALTER COLUMN series_id DROP NOT NULL,
  ALTER COLUMN sequence DROP NOT NULL,
  ALTER COLUMN number DROP NOT NULL,
  ADD CONSTRAINT credit_note_of_invoice UNIQUE (id, invoice_id);
ALTER TABLE credit_note ALTER COLUMN status DROP DEFAULT;
CREATE INDEX credit_note_list ON credit_note (date DESC, id DESC);
CREATE INDEX credit_note_branch ON credit_note (branch_id, date DESC, id DESC);

CREATE TABLE credit_note_line (
  credit_note_id uuid NOT NULL,
  position integer NOT NULL CHECK (position >= 1),
  -- What the service is and was sold for stands in the invoice's line, which is frozen.
  invoice_id uuid NOT NULL,
  invoice_position integer NOT NULL,
  -- Services taken back, with what stood on the invoice for them; a price put right takes nothing back.
  quantity numeric CHECK (quantity > 0 AND scale(quantity) <= 3),
  gross rub CHECK (gross >= 0),
  discount rub CHECK (discount >= 0),
  document_discount rub CHECK (document_discount >= 0),
  list_amount rub CHECK (list_amount >= 0),
  amount rub NOT NULL CHECK (amount >= 0),
  vat_rate percent,
  vat_amount rub CHECK (vat_amount >= 0),
  PRIMARY KEY (credit_note_id, position),
  FOREIGN KEY (credit_note_id, invoice_id) REFERENCES credit_note (id, invoice_id),
  FOREIGN KEY (invoice_id, invoice_position) REFERENCES invoice_line (invoice_id, position),
  CHECK ((vat_rate IS NULL) = (vat_amount IS NULL)),
  CHECK (num_nulls(quantity, gross, discount, document_discount) IN (0, 4)),
  CHECK (list_amount IS NULL OR quantity IS NOT NULL),
  CHECK (quantity IS NOT NULL OR amount > 0)
);
CREATE INDEX credit_note_line_of_invoice ON credit_note_line (invoice_id, invoice_position);

-- ---- What there was before: every credit note took a whole invoice back, so its lines are the invoice's ----

INSERT INTO credit_note_line
       (credit_note_id, position, invoice_id, invoice_position, quantity, gross, discount, document_discount,
        list_amount, amount, vat_rate, vat_amount)
SELECT note.id, line.position, line.invoice_id, line.position, line.quantity, line.gross, line.discount,
       line.document_discount, line.list_amount, line.amount, line.vat_rate, line.vat_amount
  FROM credit_note AS note JOIN invoice_line AS line ON line.invoice_id = note.invoice_id;
ALTER TABLE invoice_line DISABLE TRIGGER USER;
UPDATE invoice_line AS line
   SET credited_quantity = line.quantity, credited_amount = line.amount, credited_vat = coalesce(line.vat_amount, 0)
  FROM credit_note AS note WHERE note.invoice_id = line.invoice_id;
ALTER TABLE invoice_line ENABLE TRIGGER USER;
ALTER TABLE invoice DISABLE TRIGGER USER;
UPDATE invoice
   SET issued_by = coalesce((SELECT actor FROM journal WHERE object_id = invoice.id AND type = 'invoice.issued'),
                            created_by)
 WHERE number IS NOT NULL;
ALTER TABLE invoice ENABLE TRIGGER USER;

ALTER TABLE invoice_line ADD CONSTRAINT invoice_line_credited CHECK (
  credited_quantity >= 0 AND credited_quantity <= quantity
  AND credited_amount >= 0 AND credited_amount <= amount
  AND credited_vat >= 0 AND credited_vat <= coalesce(vat_amount, 0)
  AND (credited_quantity < quantity OR credited_amount = amount)
  AND (credited_amount < amount OR credited_vat = coalesce(vat_amount, 0)));
ALTER TABLE invoice ADD CONSTRAINT invoice_issued_by CHECK ((number IS NULL) = (issued_by IS NULL));

-- ---- Its own hash ----

-- The rest of the invoice, its parties above all, is in the invoice's own hash.
CREATE FUNCTION credit_note_content(doc credit_note) RETURNS text LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT jsonb_build_object(
    'version', 1, 'id', doc.id, 'branch', doc.branch_id, 'number', doc.number, 'sequence', doc.sequence,
    'date', doc.date, 'supplier', doc.supplier, 'cancels', doc.cancels, 'amount', doc.amount::text,
    'reason', doc.reason,
    'invoice', (SELECT encode(content_sha256, 'hex') FROM invoice WHERE id = doc.invoice_id),
    'lines', (
      SELECT jsonb_agg(jsonb_build_array(
               position, invoice_position, quantity::text, gross::text, discount::text, document_discount::text,
               list_amount::text, amount::text, vat_rate::text, vat_amount::text) ORDER BY position)
        FROM credit_note_line WHERE credit_note_id = doc.id))::text
$$;
CREATE FUNCTION credit_note_digest(doc credit_note) RETURNS bytea LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT sha256(convert_to(credit_note_content(doc), 'UTF8'))
$$;
CREATE FUNCTION credit_note_hash_at_issue() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  NEW.content_sha256 := credit_note_digest(NEW);
  RETURN NEW;
END $$;

DROP TRIGGER credit_note_frozen ON credit_note;
-- Nobody copied the requisites onto a credit note before; those of its invoice are the ones it stood under.
UPDATE credit_note SET supplier = (SELECT supplier FROM invoice WHERE id = credit_note.invoice_id);
UPDATE credit_note SET content_sha256 = credit_note_digest(credit_note);
ALTER TABLE credit_note
  ADD CHECK ((status = 'draft') = (number IS NULL)),
  ADD CHECK ((number IS NULL) = (sequence IS NULL) AND (number IS NULL) = (series_id IS NULL)
             AND (number IS NULL) = (supplier IS NULL) AND (number IS NULL) = (content_sha256 IS NULL));

CREATE TRIGGER credit_note_frozen BEFORE UPDATE ON credit_note FOR EACH ROW EXECUTE FUNCTION keep_frozen(
  '{draft>issued}', '{status}');
CREATE TRIGGER credit_note_hash BEFORE UPDATE OF status ON credit_note FOR EACH ROW
  WHEN (OLD.status = 'draft' AND NEW.status = 'issued') EXECUTE FUNCTION credit_note_hash_at_issue();

CREATE FUNCTION credit_note_begins_as_draft() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a credit note begins as a draft' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER credit_note_begins BEFORE INSERT ON credit_note FOR EACH ROW
  WHEN (NEW.status <> 'draft') EXECUTE FUNCTION credit_note_begins_as_draft();
CREATE TRIGGER credit_note_line_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON credit_note_line
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION invoice_line_begins_uncredited() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a line begins uncredited' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER invoice_line_begins BEFORE INSERT ON invoice_line FOR EACH ROW
  WHEN (NEW.credited_quantity <> 0 OR NEW.credited_amount <> 0 OR NEW.credited_vat <> 0)
  EXECUTE FUNCTION invoice_line_begins_uncredited();

-- ---- Running totals follow from rows ----

-- The owner's, so that the application has no right to say «credited» by itself: it writes the lines of a note, and this
-- moves the totals of the invoice and its lines.
CREATE FUNCTION credit_moves_money() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM invoice WHERE id IN (SELECT invoice_id FROM moved) ORDER BY id FOR NO KEY UPDATE;
  IF EXISTS (SELECT FROM moved
               JOIN invoice ON invoice.id = moved.invoice_id
               JOIN credit_note AS note ON note.id = moved.credit_note_id
              WHERE invoice.status <> 'issued' OR note.status <> 'draft' OR note.branch_id <> invoice.branch_id) THEN
    RAISE EXCEPTION 'only issued invoices are credited, and only by a note that is being made'
      USING ERRCODE = 'restrict_violation';
  END IF;
  UPDATE invoice_line AS line
     SET credited_quantity = credited_quantity + part.quantity, credited_amount = credited_amount + part.amount,
         credited_vat = credited_vat + part.vat
    FROM (SELECT invoice_id, invoice_position, coalesce(sum(quantity), 0) AS quantity, sum(amount) AS amount,
                 coalesce(sum(vat_amount), 0) AS vat
            FROM moved GROUP BY invoice_id, invoice_position) AS part
   WHERE line.invoice_id = part.invoice_id AND line.position = part.invoice_position;
  UPDATE invoice
     SET credited = credited + part.amount, row_version = row_version + 1, updated_at = greatest(updated_at, part.at)
    FROM (SELECT moved.invoice_id, sum(moved.amount) AS amount, max(note.created_at) AS at
            FROM moved JOIN credit_note AS note ON note.id = moved.credit_note_id
           GROUP BY moved.invoice_id) AS part
   WHERE invoice.id = part.invoice_id;
  RETURN NULL;
END $$;
CREATE TRIGGER credit_moves_money AFTER INSERT ON credit_note_line REFERENCING NEW TABLE AS moved
  FOR EACH STATEMENT EXECUTE FUNCTION credit_moves_money();

-- Lines follow their document, as before, but for what is credited of them.
CREATE FUNCTION invoice_lines_may_change(documents uuid[]) RETURNS void LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
DECLARE
  frozen boolean;
  approved boolean;
BEGIN
  SELECT bool_or(status <> 'draft'), bool_or(approval = 'granted') INTO frozen, approved FROM (
    SELECT status, approval FROM invoice WHERE id = ANY (documents) FOR SHARE) AS document;
  IF frozen THEN
    RAISE EXCEPTION 'lines of an issued invoice are frozen' USING ERRCODE = 'restrict_violation';
  END IF;
  IF approved THEN
    UPDATE invoice SET approval = invoice_limit(invoice)
     WHERE id = ANY (documents) AND approval = 'granted' AND NOT invoice_is_approved(invoice);
  END IF;
END $$;
CREATE OR REPLACE FUNCTION invoice_lines_of_drafts() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM invoice_lines_may_change(ARRAY(SELECT DISTINCT invoice_id FROM touched));
  RETURN NULL;
END $$;
CREATE FUNCTION invoice_lines_change_in_drafts() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
DECLARE
  moving text[] := '{credited_quantity,credited_amount,credited_vat}';
  documents uuid[];
BEGIN
  WITH said_before AS (SELECT invoice_id, to_jsonb(was) - moving AS line FROM was),
       says_now AS (SELECT invoice_id, to_jsonb(is_now) - moving AS line FROM is_now)
  SELECT array_agg(DISTINCT invoice_id) INTO documents
    FROM ((TABLE said_before EXCEPT TABLE says_now) UNION ALL (TABLE says_now EXCEPT TABLE said_before)) AS changed;
  IF documents IS NOT NULL THEN
    PERFORM invoice_lines_may_change(documents);
  END IF;
  RETURN NULL;
END $$;
DROP TRIGGER invoice_line_changed ON invoice_line;
DROP TRIGGER invoice_line_moved ON invoice_line;
CREATE TRIGGER invoice_line_changed AFTER UPDATE ON invoice_line REFERENCING OLD TABLE AS was NEW TABLE AS is_now
  FOR EACH STATEMENT EXECUTE FUNCTION invoice_lines_change_in_drafts();

-- ---- At every COMMIT ----

-- A note is issued, its lines add up to it, at the VAT rate of the invoice.
CREATE FUNCTION credit_note_adds_up() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  doc credit_note;
BEGIN
  SELECT * INTO doc FROM credit_note
   WHERE id = CASE TG_TABLE_NAME WHEN 'credit_note' THEN to_jsonb(NEW)->>'id'
                                 ELSE to_jsonb(NEW)->>'credit_note_id' END::uuid;
  IF doc.status = 'draft' OR doc.content_sha256 <> credit_note_digest(doc)
     OR doc.amount IS DISTINCT FROM (SELECT sum(amount) FROM credit_note_line WHERE credit_note_id = doc.id)
     OR EXISTS (SELECT FROM credit_note_line AS line
                  JOIN invoice_line AS invoiced
                    ON invoiced.invoice_id = line.invoice_id AND invoiced.position = line.invoice_position
                 WHERE line.credit_note_id = doc.id AND line.vat_rate IS DISTINCT FROM invoiced.vat_rate) THEN
    RAISE EXCEPTION 'the lines of credit note % do not add up to it', doc.id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER credit_note_adds_up AFTER INSERT OR UPDATE ON credit_note DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION credit_note_adds_up();
CREATE CONSTRAINT TRIGGER credit_note_line_adds_up AFTER INSERT ON credit_note_line DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION credit_note_adds_up();

-- An invoice is credited as its notes say, each line of it too; it is cancelled exactly when a note has cancelled it, and
-- then nothing of it is left; and no service is both taken back and rendered.
CREATE FUNCTION invoice_is_credited() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  doc invoice;
BEGIN
  SELECT * INTO doc FROM invoice
   WHERE id = CASE TG_TABLE_NAME WHEN 'invoice' THEN to_jsonb(NEW)->>'id' ELSE to_jsonb(NEW)->>'invoice_id' END::uuid;
  IF doc.credited <> (SELECT coalesce(sum(amount), 0) FROM credit_note WHERE invoice_id = doc.id)
     OR EXISTS (
       SELECT FROM invoice_line AS line
         LEFT JOIN LATERAL (
           SELECT sum(quantity) AS quantity, sum(amount) AS amount, sum(vat_amount) AS vat
             FROM credit_note_line AS note
            WHERE note.invoice_id = line.invoice_id AND note.invoice_position = line.position) AS note ON true
        WHERE line.invoice_id = doc.id
          AND (credited_quantity, credited_amount, credited_vat)
              <> (coalesce(note.quantity, 0), coalesce(note.amount, 0), coalesce(note.vat, 0))) THEN
    RAISE EXCEPTION 'invoice % is not credited as its credit notes say', doc.id USING ERRCODE = 'check_violation';
  END IF;
  IF (doc.status = 'cancelled') <> EXISTS (SELECT FROM credit_note WHERE invoice_id = doc.id AND cancels)
     OR doc.status = 'cancelled' AND EXISTS (SELECT FROM invoice_line
                                              WHERE invoice_id = doc.id AND credited_quantity < quantity) THEN
    RAISE EXCEPTION 'invoice % is not cancelled as its credit notes say', doc.id USING ERRCODE = 'check_violation';
  END IF;
  IF EXISTS (
       SELECT FROM invoice_line AS line
        WHERE line.invoice_id = doc.id AND line.credited_quantity > 0
          AND line.credited_quantity + (
                SELECT coalesce(sum(done.quantity), 0) FROM act_line AS done JOIN act ON act.id = done.act_id
                 WHERE act.status = 'issued' AND done.invoice_id = line.invoice_id
                   AND done.invoice_position = line.position) > line.quantity) THEN
    RAISE EXCEPTION 'what is rendered of invoice % cannot be taken back', doc.id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER invoice_is_credited AFTER UPDATE OF credited, status ON invoice
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.credited <> OLD.credited OR NEW.status = 'cancelled') EXECUTE FUNCTION invoice_is_credited();
CREATE CONSTRAINT TRIGGER invoice_line_is_credited
  AFTER UPDATE OF credited_quantity, credited_amount, credited_vat ON invoice_line
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION invoice_is_credited();
CREATE CONSTRAINT TRIGGER credit_note_credits AFTER INSERT ON credit_note
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION invoice_is_credited();

-- At COMMIT an act is issued, its lines add up to it, and no service was rendered more often than it was invoiced and not
-- taken back. Its money may be more than what is left of the line: a price is put right after the service too.
CREATE OR REPLACE FUNCTION act_adds_up() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  doc act;
BEGIN
  SELECT * INTO doc FROM act
   WHERE id = CASE TG_TABLE_NAME WHEN 'act' THEN to_jsonb(NEW)->>'id' ELSE to_jsonb(NEW)->>'act_id' END::uuid;
  IF doc.status = 'draft' OR doc.content_sha256 <> act_digest(doc)
     OR doc.total IS DISTINCT FROM (SELECT sum(amount) FROM act_line WHERE act_id = doc.id) THEN
    RAISE EXCEPTION 'the lines of act % do not add up to it', doc.id USING ERRCODE = 'check_violation';
  END IF;
  PERFORM 1
     FROM invoice_line AS invoiced
     JOIN act_line AS line ON line.invoice_id = invoiced.invoice_id AND line.invoice_position = invoiced.position
     JOIN act ON act.id = line.act_id AND act.status = 'issued'
    WHERE invoiced.invoice_id = doc.invoice_id
    GROUP BY invoiced.position, invoiced.quantity, invoiced.credited_quantity, invoiced.amount
   HAVING sum(line.quantity) > invoiced.quantity - invoiced.credited_quantity OR sum(line.amount) > invoiced.amount;
  IF FOUND THEN
    RAISE EXCEPTION 'more is rendered than invoice % has', doc.invoice_id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;

GRANT SELECT, INSERT ON credit_note_line TO clinic_app;
GRANT UPDATE (status, series_id, sequence, number, supplier) ON credit_note TO clinic_app;
GRANT UPDATE (issued_by) ON invoice TO clinic_app;
REVOKE UPDATE (credited) ON invoice FROM clinic_app;
