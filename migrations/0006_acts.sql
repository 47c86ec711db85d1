-- billing: acts of rendered services: what of an invoice was done, on which day and by whom.
CREATE TABLE act (
  id uuid PRIMARY KEY,
  invoice_id uuid NOT NULL REFERENCES invoice,
  branch_id uuid NOT NULL REFERENCES branch,
  -- A draft only inside the transaction that makes it: the number is taken last.
  status text NOT NULL CHECK (status IN ('draft', 'issued', 'cancelled')),
  series_id uuid REFERENCES number_series,
  sequence bigint,
  number text UNIQUE,
  date date NOT NULL,
  supplier jsonb,
  total rub NOT NULL CHECK (total >= 0),
  issued_at timestamptz NOT NULL,
  issued_by text NOT NULL,
  cancelled_at timestamptz,
  cancelled_by text,
  cancel_reason text,
  content_sha256 bytea,
  UNIQUE (series_id, sequence),
  CHECK ((status = 'draft') = (number IS NULL)),
  CHECK ((number IS NULL) = (sequence IS NULL) AND (number IS NULL) = (series_id IS NULL)
         AND (number IS NULL) = (supplier IS NULL) AND (number IS NULL) = (content_sha256 IS NULL)),
  CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL) AND (cancelled_at IS NULL) = (cancelled_by IS NULL)
         AND (cancelled_at IS NULL) = (cancel_reason IS NULL))
);
CREATE INDEX act_invoice ON act (invoice_id);
CREATE INDEX act_list ON act (date DESC, id DESC);

CREATE TABLE act_line (
  act_id uuid NOT NULL REFERENCES act,
  position integer NOT NULL CHECK (position >= 1),
  -- What the service is and was sold for stands in the invoice's line, which is frozen.
  invoice_id uuid NOT NULL,
  invoice_position integer NOT NULL,
  quantity numeric NOT NULL CHECK (quantity > 0 AND scale(quantity) <= 3),
  service_date date NOT NULL,
  doctor_id uuid,
  doctor_name_ru text,
  doctor_name_en text,
  amount rub NOT NULL CHECK (amount >= 0),
  -- By the day of the service, which need not be the invoice's.
  vat_rate percent,
  vat_amount rub,
  PRIMARY KEY (act_id, position),
  FOREIGN KEY (invoice_id, invoice_position) REFERENCES invoice_line (invoice_id, position),
  CHECK ((vat_rate IS NULL) = (vat_amount IS NULL)),
  CHECK ((doctor_id IS NULL) = (doctor_name_ru IS NULL) AND (doctor_id IS NULL) = (doctor_name_en IS NULL))
);
CREATE INDEX act_line_of_invoice ON act_line (invoice_id, invoice_position);

-- The rest of the invoice, its parties above all, is in the invoice's own hash.
CREATE FUNCTION act_content(doc act) RETURNS text LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT jsonb_build_object(
    'version', 1, 'id', doc.id, 'branch', doc.branch_id, 'number', doc.number, 'sequence', doc.sequence,
    'date', doc.date, 'supplier', doc.supplier, 'total', doc.total::text,
    'invoice', (SELECT encode(content_sha256, 'hex') FROM invoice WHERE id = doc.invoice_id),
    'lines', (
      SELECT jsonb_agg(jsonb_build_array(
               position, invoice_position, quantity::text, service_date, doctor_id, doctor_name_ru, doctor_name_en,
               amount::text, vat_rate::text, vat_amount::text) ORDER BY position)
        FROM act_line WHERE act_id = doc.id))::text
$$;
CREATE FUNCTION act_digest(doc act) RETURNS bytea LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT sha256(convert_to(act_content(doc), 'UTF8'))
$$;
CREATE FUNCTION act_hash_at_issue() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  NEW.content_sha256 := act_digest(NEW);
  RETURN NEW;
END $$;
CREATE TRIGGER act_hash BEFORE UPDATE OF status ON act FOR EACH ROW
  WHEN (OLD.status = 'draft' AND NEW.status = 'issued') EXECUTE FUNCTION act_hash_at_issue();
CREATE TRIGGER act_frozen BEFORE UPDATE ON act FOR EACH ROW EXECUTE FUNCTION keep_frozen(
  '{draft>issued,issued>cancelled}', '{status,cancelled_at,cancelled_by,cancel_reason}');

CREATE FUNCTION act_begins_as_draft() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'an act begins as a draft' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER act_begins BEFORE INSERT ON act FOR EACH ROW
  WHEN (NEW.status <> 'draft') EXECUTE FUNCTION act_begins_as_draft();

-- At COMMIT an act is issued, its lines add up to it, and no service was rendered more often than it was invoiced.
CREATE FUNCTION act_adds_up() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
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
    GROUP BY invoiced.position, invoiced.quantity, invoiced.amount
   HAVING sum(line.quantity) > invoiced.quantity OR sum(line.amount) > invoiced.amount;
  IF FOUND THEN
    RAISE EXCEPTION 'more is rendered than invoice % has', doc.invoice_id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER act_adds_up AFTER INSERT OR UPDATE ON act DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION act_adds_up();
CREATE CONSTRAINT TRIGGER act_line_adds_up AFTER INSERT ON act_line DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION act_adds_up();

-- What was rendered is not taken back by cancelling its invoice; nothing is rendered of an invoice that is not issued.
CREATE FUNCTION invoice_of_acts_stays() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM act WHERE invoice_id = NEW.id AND status = 'issued') THEN
    RAISE EXCEPTION 'invoice % has acts', NEW.id USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER invoice_of_acts_stays BEFORE UPDATE OF status ON invoice FOR EACH ROW
  WHEN (NEW.status = 'cancelled' AND OLD.status <> 'cancelled') EXECUTE FUNCTION invoice_of_acts_stays();

CREATE FUNCTION act_of_issued_invoice() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  -- Waits for whoever cancels the invoice or makes another act of it at this moment, and then sees what he did.
  PERFORM 1 FROM (SELECT status FROM invoice WHERE id = NEW.invoice_id FOR NO KEY UPDATE) AS invoiced
    WHERE status = 'issued';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'invoice % is not issued', NEW.invoice_id USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER act_of_issued_invoice BEFORE INSERT ON act
  FOR EACH ROW EXECUTE FUNCTION act_of_issued_invoice();

CREATE TRIGGER act_kept BEFORE DELETE OR TRUNCATE ON act FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER act_line_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON act_line
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON act, act_line TO clinic_app;
GRANT UPDATE (status, series_id, sequence, number, supplier, cancelled_at, cancelled_by, cancel_reason) ON act
  TO clinic_app;
