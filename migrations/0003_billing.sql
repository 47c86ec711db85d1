-- billing: quotes and invoices, frozen once they are sent or issued, and series of numbers without gaps.
CREATE TABLE discount_reason (
  code text PRIMARY KEY CHECK (code ~ '^[a-z][a-z0-9_]{0,31}$'),
  name_ru text NOT NULL,
  name_en text NOT NULL,
  valid daterange NOT NULL DEFAULT '[2000-01-01,)'
);
INSERT INTO discount_reason (code, name_ru, name_en) VALUES
  ('staff', 'Сотруднику клиники', 'Member of staff'),
  ('repeat', 'Повторное обращение', 'Returning patient'),
  ('package', 'Комплексная программа', 'Package'),
  ('goodwill', 'По решению руководителя', 'Goodwill');
GRANT SELECT ON discount_reason TO clinic_app;

-- The discount, in percent of a line, above which a second person approves.
CREATE TABLE discount_ceiling (
  role text PRIMARY KEY,
  ceiling percent NOT NULL
);
INSERT INTO discount_ceiling (role, ceiling) VALUES
  ('reception', 5), ('accountant', 0), ('price_keeper', 0), ('administrator', 100);
GRANT SELECT ON discount_ceiling TO clinic_app;

-- What a line of any document keeps: a copy of everything the catalog said of the service when it was priced.
CREATE TABLE line_shape (
  position integer NOT NULL CHECK (position >= 1),
  article text NOT NULL,
  name_ru text NOT NULL,
  name_en text NOT NULL,
  nomenclature_codes text[] NOT NULL,
  unit text NOT NULL,
  doctor_rank text NOT NULL,
  rank_name_ru text,
  rank_name_en text,
  quantity numeric NOT NULL CHECK (quantity > 0 AND scale(quantity) <= 3),
  service_date date,
  price_kind text NOT NULL CHECK (price_kind IN ('fixed', 'from', 'on_request')),
  unit_price rub NOT NULL CHECK (unit_price >= 0),
  price_reason text,
  priced_by text,
  gross rub NOT NULL CHECK (gross >= 0),
  discount_percent percent,
  discount_amount rub,
  discount_reason text,
  discount rub NOT NULL CHECK (discount >= 0),
  document_discount rub NOT NULL CHECK (document_discount >= 0),
  amount rub NOT NULL CHECK (amount >= 0),
  discountable boolean NOT NULL,
  vat_category text NOT NULL,
  vat_rate percent,
  vat_amount rub,
  tax_deduction_code text NOT NULL,
  price_id uuid NOT NULL,
  price_list text NOT NULL,
  order_id uuid NOT NULL,
  order_number text NOT NULL,
  order_date date NOT NULL,
  fallback boolean NOT NULL,
  CHECK (amount = gross - discount - document_discount),
  CHECK ((vat_rate IS NULL) = (vat_amount IS NULL))
);

CREATE TABLE quote (
  id uuid PRIMARY KEY,
  -- Eight random characters and a check character: proves genuineness, opens nothing.
  code text NOT NULL UNIQUE CHECK (code ~ '^[0-9A-HJKMNP-TV-Z]{9}$'),
  branch_id uuid NOT NULL REFERENCES branch,
  created_at timestamptz NOT NULL,
  created_by text NOT NULL
);

CREATE TABLE quote_revision (
  quote_id uuid NOT NULL REFERENCES quote,
  revision integer NOT NULL CHECK (revision >= 1),
  newest boolean NOT NULL DEFAULT true,
  -- Whether nothing is left to invoice: follows from the lines, by a trigger.
  invoiced boolean NOT NULL DEFAULT false,
  branch_id uuid NOT NULL REFERENCES branch,
  status text NOT NULL
    CHECK (status IN ('draft', 'sent', 'accepted', 'declined', 'expired', 'superseded', 'cancelled')),
  kind text NOT NULL CHECK (kind IN ('firm', 'approximate')),
  date date NOT NULL,
  valid_until date NOT NULL,
  price_list text NOT NULL REFERENCES price_list,
  patient_party uuid REFERENCES party,
  patient_ref text,
  comment text,
  discount_percent percent,
  discount_amount rub,
  discount_reason text,
  approval text NOT NULL CHECK (approval IN ('none', 'required', 'granted')),
  subtotal rub NOT NULL,
  discount rub NOT NULL,
  total rub NOT NULL CHECK (total >= 0 AND total = subtotal - discount),
  row_version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (quote_id, revision),
  CHECK (valid_until >= date)
);
CREATE UNIQUE INDEX quote_one_live_revision ON quote_revision (quote_id) WHERE status IN ('draft', 'sent', 'accepted');
CREATE UNIQUE INDEX quote_one_newest_revision ON quote_revision (quote_id) WHERE newest;
-- Lists show the newest revisions, newest first.
CREATE INDEX quote_revision_list ON quote_revision (date DESC, quote_id DESC) WHERE newest;
CREATE INDEX quote_revision_status ON quote_revision (status, invoiced, date DESC, quote_id DESC) WHERE newest;
CREATE INDEX quote_revision_patient ON quote_revision (patient_ref, date DESC, quote_id DESC)
  WHERE newest AND patient_ref IS NOT NULL;

CREATE TABLE quote_line (
  quote_id uuid NOT NULL,
  revision integer NOT NULL,
  -- How much of the line stands on invoices that are not discarded or cancelled; moved under the quote's lock.
  invoiced_quantity numeric NOT NULL DEFAULT 0,
  LIKE line_shape INCLUDING ALL,
  PRIMARY KEY (quote_id, revision, position),
  FOREIGN KEY (quote_id, revision) REFERENCES quote_revision,
  CHECK (invoiced_quantity >= 0 AND invoiced_quantity <= quantity),
  CHECK (gross = round(unit_price * quantity, 2))
);

CREATE TABLE number_series (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  branch_id uuid NOT NULL REFERENCES branch,
  kind text NOT NULL CHECK (kind IN ('invoice', 'credit_note', 'act', 'receipt')),
  year integer NOT NULL,
  prefix text NOT NULL,
  next_no bigint NOT NULL DEFAULT 1,
  last_on date,
  open boolean NOT NULL DEFAULT true,
  UNIQUE (branch_id, kind, year),
  UNIQUE (kind, year, prefix)
) WITH (fillfactor = 20);

CREATE TABLE invoice (
  id uuid PRIMARY KEY,
  branch_id uuid NOT NULL REFERENCES branch,
  status text NOT NULL CHECK (status IN ('draft', 'issued', 'cancelled', 'discarded')),
  quote_id uuid,
  quote_revision integer,
  series_id uuid REFERENCES number_series,
  sequence bigint,
  number text UNIQUE,
  date date NOT NULL,
  due_date date,
  issued_at timestamptz,
  supplier jsonb,
  patient_party uuid REFERENCES party,
  patient_ref text,
  payer_party uuid NOT NULL REFERENCES party,
  payer_ref text NOT NULL,
  -- What is not personal of the payer: kind, and for organisations INN, KPP, guarantee letter.
  payer jsonb NOT NULL,
  price_list text NOT NULL REFERENCES price_list,
  comment text,
  discount_percent percent,
  discount_amount rub,
  discount_reason text,
  subtotal rub NOT NULL,
  discount rub NOT NULL,
  total rub NOT NULL CHECK (total >= 0 AND total = subtotal - discount),
  paid rub NOT NULL DEFAULT 0 CHECK (paid >= 0),
  credited rub NOT NULL DEFAULT 0 CHECK (credited >= 0),
  content_version smallint NOT NULL DEFAULT 1,
  content_sha256 bytea,
  row_version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  created_by text NOT NULL,
  updated_at timestamptz NOT NULL,
  FOREIGN KEY (quote_id, quote_revision) REFERENCES quote_revision,
  UNIQUE (series_id, sequence),
  CHECK (paid + credited <= total),
  CHECK ((status IN ('draft', 'discarded')) = (number IS NULL)),
  CHECK ((number IS NULL) = (sequence IS NULL) AND (number IS NULL) = (series_id IS NULL)
         AND (number IS NULL) = (issued_at IS NULL) AND (number IS NULL) = (supplier IS NULL)
         AND (number IS NULL) = (content_sha256 IS NULL)),
  CHECK (due_date >= date)
) WITH (fillfactor = 80);
CREATE INDEX invoice_list ON invoice (date DESC, id DESC);
CREATE INDEX invoice_status ON invoice (status, date DESC, id DESC);
CREATE INDEX invoice_owed ON invoice (date DESC, id DESC) WHERE number IS NOT NULL AND paid + credited < total;
CREATE INDEX invoice_quote ON invoice (quote_id) WHERE quote_id IS NOT NULL;
CREATE INDEX invoice_payer ON invoice (payer_ref, date DESC, id DESC);
CREATE INDEX invoice_patient ON invoice (patient_ref, date DESC, id DESC) WHERE patient_ref IS NOT NULL;

CREATE TABLE invoice_line (
  invoice_id uuid NOT NULL REFERENCES invoice,
  quote_position integer,
  LIKE line_shape INCLUDING ALL,
  PRIMARY KEY (invoice_id, position)
);
DROP TABLE line_shape;

-- A credit note takes an invoice back, whole or in part; its lines are the invoice's.
CREATE TABLE credit_note (
  id uuid PRIMARY KEY,
  invoice_id uuid NOT NULL REFERENCES invoice,
  branch_id uuid NOT NULL REFERENCES branch,
  cancels boolean NOT NULL,
  series_id uuid NOT NULL REFERENCES number_series,
  sequence bigint NOT NULL,
  number text NOT NULL UNIQUE,
  date date NOT NULL,
  amount rub NOT NULL CHECK (amount >= 0),
  reason text NOT NULL,
  created_at timestamptz NOT NULL,
  created_by text NOT NULL,
  UNIQUE (series_id, sequence)
);
CREATE UNIQUE INDEX credit_note_cancels_once ON credit_note (invoice_id) WHERE cancels;
CREATE INDEX credit_note_invoice ON credit_note (invoice_id);

-- What the hash of an issued invoice is taken over (version 1). No names: their digests stand for them. Nothing that
-- changes later: no status, paid, credited. Columns are listed, so a column added later changes no old hash.
CREATE FUNCTION invoice_content(doc invoice) RETURNS text LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT jsonb_build_object(
    'version', 1, 'id', doc.id, 'branch', doc.branch_id, 'number', doc.number, 'sequence', doc.sequence,
    'date', doc.date, 'due_date', doc.due_date, 'supplier', doc.supplier,
    'quote', doc.quote_id, 'quote_revision', doc.quote_revision,
    'patient', (SELECT jsonb_build_array(ref, encode(digest, 'hex')) FROM party WHERE id = doc.patient_party),
    'payer', doc.payer || (SELECT jsonb_build_object('ref', ref, 'digest', encode(digest, 'hex'))
                             FROM party WHERE id = doc.payer_party),
    'subtotal', doc.subtotal::text, 'discount', doc.discount::text, 'total', doc.total::text,
    'comment', doc.comment,
    'lines', (
      SELECT jsonb_agg(jsonb_build_array(
               position, article, name_ru, name_en, nomenclature_codes, unit, doctor_rank, rank_name_ru, rank_name_en,
               quantity::text, service_date, price_kind, unit_price::text, price_reason, priced_by, gross::text,
               discount_percent::text, discount_amount::text, discount_reason, discount::text,
               document_discount::text, amount::text, vat_category, vat_rate::text, vat_amount::text,
               tax_deduction_code, price_id, price_list, order_id, order_number, order_date, fallback)
             ORDER BY position)
        FROM invoice_line WHERE invoice_id = doc.id))::text
$$;

CREATE FUNCTION invoice_digest(doc invoice) RETURNS bytea LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT sha256(convert_to(invoice_content(doc), 'UTF8'))
$$;

-- Refuses every change of a frozen row but of the columns named as arguments, and every way of status but forward.
CREATE FUNCTION keep_frozen() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  way text := OLD.status || '>' || NEW.status;
  free text[] := TG_ARGV[1]::text[];
BEGIN
  IF OLD.status <> NEW.status AND NOT way = ANY (TG_ARGV[0]::text[]) THEN
    RAISE EXCEPTION '% cannot go from % to %', TG_TABLE_NAME, OLD.status, NEW.status
      USING ERRCODE = 'restrict_violation';
  END IF;
  IF OLD.status <> 'draft' AND to_jsonb(OLD) - free <> to_jsonb(NEW) - free THEN
    RAISE EXCEPTION '% is frozen', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER quote_revision_frozen BEFORE UPDATE ON quote_revision FOR EACH ROW EXECUTE FUNCTION keep_frozen(
  '{draft>sent,draft>accepted,draft>declined,draft>expired,draft>superseded,draft>cancelled,sent>accepted,sent>declined,sent>expired,sent>superseded,sent>cancelled,accepted>superseded,accepted>cancelled}',
  '{status,newest,invoiced,approval,row_version,updated_at}');
CREATE TRIGGER invoice_frozen BEFORE UPDATE ON invoice FOR EACH ROW EXECUTE FUNCTION keep_frozen(
  '{draft>issued,draft>discarded,issued>cancelled}', '{status,paid,credited,row_version,updated_at}');

-- The database takes the hash itself at the moment of issue: no program can store a wrong one.
CREATE FUNCTION hash_at_issue() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  NEW.content_sha256 := invoice_digest(NEW);
  RETURN NEW;
END $$;
CREATE TRIGGER invoice_hash BEFORE UPDATE OF status ON invoice FOR EACH ROW
  WHEN (OLD.status = 'draft' AND NEW.status = 'issued') EXECUTE FUNCTION hash_at_issue();

CREATE FUNCTION invoice_begins_as_draft() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'an invoice begins as a draft' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER invoice_begins BEFORE INSERT ON invoice FOR EACH ROW
  WHEN (NEW.status <> 'draft' OR NEW.paid <> 0 OR NEW.credited <> 0) EXECUTE FUNCTION invoice_begins_as_draft();

-- Lines follow their document: written, changed and taken away only while it is a draft. FOR SHARE waits for one
-- that is being issued at this moment and then sees it issued.
CREATE FUNCTION invoice_lines_of_drafts() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM (SELECT status FROM invoice WHERE id IN (SELECT invoice_id FROM touched) FOR SHARE) AS document
    WHERE document.status <> 'draft';
  IF FOUND THEN
    RAISE EXCEPTION 'lines of an issued invoice are frozen' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER invoice_line_added AFTER INSERT ON invoice_line REFERENCING NEW TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION invoice_lines_of_drafts();
CREATE TRIGGER invoice_line_removed AFTER DELETE ON invoice_line REFERENCING OLD TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION invoice_lines_of_drafts();
CREATE TRIGGER invoice_line_changed AFTER UPDATE ON invoice_line REFERENCING OLD TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION invoice_lines_of_drafts();
CREATE TRIGGER invoice_line_moved AFTER UPDATE ON invoice_line REFERENCING NEW TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION invoice_lines_of_drafts();

CREATE FUNCTION quote_lines_of_drafts() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM (
    SELECT status FROM quote_revision
     WHERE (quote_id, revision) IN (SELECT quote_id, revision FROM touched) FOR SHARE) AS document
    WHERE document.status <> 'draft';
  IF FOUND THEN
    RAISE EXCEPTION 'lines of a sent quote are frozen' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER quote_line_added AFTER INSERT ON quote_line REFERENCING NEW TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION quote_lines_of_drafts();
CREATE TRIGGER quote_line_removed AFTER DELETE ON quote_line REFERENCING OLD TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION quote_lines_of_drafts();

CREATE FUNCTION quote_line_keeps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF to_jsonb(OLD) - 'invoiced_quantity' <> to_jsonb(NEW) - 'invoiced_quantity' THEN
    RAISE EXCEPTION 'of a quote line only invoiced_quantity moves' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER quote_line_frozen BEFORE UPDATE ON quote_line FOR EACH ROW EXECUTE FUNCTION quote_line_keeps();

-- The owner's, so that the application has no right to say «invoiced» by itself.
CREATE FUNCTION quote_is_invoiced() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
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
CREATE TRIGGER quote_is_invoiced AFTER UPDATE ON quote_line REFERENCING NEW TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION quote_is_invoiced();

-- Header and lines say the same, at every COMMIT.
CREATE FUNCTION quote_adds_up() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM quote_revision AS q
    LEFT JOIN LATERAL (
      SELECT sum(gross) AS gross, sum(discount + document_discount) AS discount, sum(amount) AS amount
        FROM quote_line WHERE quote_id = q.quote_id AND revision = q.revision) AS lines ON true
   WHERE q.quote_id = NEW.quote_id AND q.revision = NEW.revision
     AND (lines.gross, lines.discount, lines.amount) IS DISTINCT FROM (q.subtotal, q.discount, q.total);
  IF FOUND THEN
    RAISE EXCEPTION 'the lines of quote % do not add up to its total', NEW.quote_id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER quote_adds_up AFTER INSERT OR UPDATE ON quote_revision DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION quote_adds_up();

CREATE FUNCTION invoice_adds_up() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM invoice AS i
    LEFT JOIN LATERAL (
      SELECT sum(gross) AS gross, sum(discount + document_discount) AS discount, sum(amount) AS amount
        FROM invoice_line WHERE invoice_id = i.id) AS lines ON true
   WHERE i.id = NEW.id
     AND (lines.gross, lines.discount, lines.amount) IS DISTINCT FROM (i.subtotal, i.discount, i.total);
  IF FOUND THEN
    RAISE EXCEPTION 'the lines of invoice % do not add up to its total', NEW.id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
-- At issue too: until then the lines of a draft may have moved.
CREATE CONSTRAINT TRIGGER invoice_adds_up AFTER INSERT OR UPDATE OF subtotal, discount, total, status ON invoice
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION invoice_adds_up();

-- A series only counts up, by one, and its dates never go back.
CREATE FUNCTION series_counts_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.next_no NOT IN (OLD.next_no, OLD.next_no + 1) OR NEW.last_on < OLD.last_on
     OR (NEW.branch_id, NEW.kind, NEW.year, NEW.prefix) <> (OLD.branch_id, OLD.kind, OLD.year, OLD.prefix) THEN
    RAISE EXCEPTION 'a series counts up by one' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER number_series_counts_up BEFORE UPDATE ON number_series
  FOR EACH ROW EXECUTE FUNCTION series_counts_up();

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['quote', 'quote_revision', 'quote_line', 'invoice', 'invoice_line', 'number_series',
                              'credit_note', 'party'] LOOP
    EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
                   name || '_stays', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['quote', 'quote_revision', 'invoice', 'number_series', 'credit_note'] LOOP
    EXECUTE format('CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
                   name || '_kept', name);
  END LOOP;
END $$;
CREATE TRIGGER credit_note_frozen BEFORE UPDATE ON credit_note FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER quote_frozen BEFORE UPDATE ON quote FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON quote, quote_revision, quote_line, invoice, invoice_line, credit_note, number_series
  TO clinic_app;
-- FOR UPDATE asks for a right to update; the update itself is refused by quote_frozen.
GRANT UPDATE (code) ON quote TO clinic_app;
GRANT UPDATE (status, newest, approval, row_version, updated_at) ON quote_revision TO clinic_app;
GRANT UPDATE (invoiced_quantity) ON quote_line TO clinic_app;
GRANT UPDATE (next_no, last_on) ON number_series TO clinic_app;
GRANT UPDATE (status, series_id, sequence, number, date, due_date, issued_at, supplier, patient_party, patient_ref,
              payer_party, payer_ref, payer, comment, discount_percent, discount_amount, discount_reason, subtotal,
              discount, total, credited, row_version, updated_at) ON invoice TO clinic_app;
GRANT UPDATE (vat_rate, vat_amount) ON invoice_line TO clinic_app;
GRANT DELETE ON invoice_line TO clinic_app;
