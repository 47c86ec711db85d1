-- billing: money received, what it is for, refunds and cash-desk shifts; «paid» follows from rows, not from a word.

CREATE TABLE refund_reason (
  code text PRIMARY KEY CHECK (code ~ '^[a-z][a-z0-9_]{0,31}$'),
  name_ru text NOT NULL,
  name_en text NOT NULL,
  valid daterange NOT NULL DEFAULT '[2000-01-01,)'
);
INSERT INTO refund_reason (code, name_ru, name_en) VALUES
  ('patient_request', 'По просьбе пациента', 'Request of the patient'),
  ('service_not_rendered', 'Услуга не оказана', 'Service not rendered'),
  ('overpayment', 'Переплата', 'Overpayment'),
  ('mistake', 'Ошибка', 'Mistake');
GRANT SELECT ON refund_reason TO clinic_app;

-- ---- Cash-desk shifts ----

CREATE TABLE shift (
  id uuid PRIMARY KEY,
  branch_id uuid NOT NULL REFERENCES branch,
  desk text NOT NULL CHECK (length(desk) BETWEEN 1 AND 64),
  -- The cash that lay in the drawer before the first payment.
  opening_cash rub NOT NULL CHECK (opening_cash >= 0),
  opened_at timestamptz NOT NULL,
  opened_by text NOT NULL,
  closed_at timestamptz,
  closed_by text,
  -- What people counted. What should be there is never stored: it follows from the payments and refunds of the shift.
  counted_cash rub CHECK (counted_cash >= 0),
  counted_card rub CHECK (counted_card >= 0),
  CHECK ((closed_at IS NULL) = (closed_by IS NULL) AND (closed_at IS NULL) = (counted_cash IS NULL)),
  CHECK (counted_card IS NULL OR closed_at IS NOT NULL)
);
CREATE UNIQUE INDEX shift_one_open ON shift (branch_id, desk) WHERE closed_at IS NULL;
CREATE INDEX shift_list ON shift (opened_at DESC, id DESC);
CREATE INDEX shift_branch ON shift (branch_id, opened_at DESC, id DESC);

CREATE FUNCTION shift_closes_once() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF OLD.closed_at IS NOT NULL OR to_jsonb(OLD) - '{closed_at,closed_by,counted_cash,counted_card}'::text[]
                               <> to_jsonb(NEW) - '{closed_at,closed_by,counted_cash,counted_card}'::text[] THEN
    RAISE EXCEPTION 'a shift is only closed, and once' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER shift_closes_once BEFORE UPDATE ON shift FOR EACH ROW EXECUTE FUNCTION shift_closes_once();

-- ---- Payments ----

CREATE TABLE payment (
  id uuid PRIMARY KEY,
  branch_id uuid NOT NULL REFERENCES branch,
  payer_party uuid NOT NULL REFERENCES party,
  payer_ref text NOT NULL,
  -- What is not personal of the payer, as on an invoice.
  payer jsonb NOT NULL,
  tender text NOT NULL CHECK (tender IN ('cash', 'card', 'transfer', 'online')),
  amount rub NOT NULL CHECK (amount > 0),
  -- A key of a call is forgotten; the number of a terminal's slip or of a bank's document is not.
  source text,
  external_ref text,
  -- Over what was asked for under the reference, names left out: tells a repeat from a mistake.
  asked_sha256 bytea,
  received_on date NOT NULL,
  shift_id uuid REFERENCES shift,
  -- What was handed over at once, in several tenders.
  split_id uuid,
  comment text,
  allocated rub NOT NULL DEFAULT 0 CHECK (allocated >= 0),
  refunded rub NOT NULL DEFAULT 0 CHECK (refunded >= 0),
  created_at timestamptz NOT NULL,
  created_by text NOT NULL,
  CONSTRAINT payment_reference UNIQUE (source, external_ref),
  CHECK ((source IS NULL) = (external_ref IS NULL) AND (source IS NULL) = (asked_sha256 IS NULL)),
  CONSTRAINT payment_not_overspent CHECK (allocated + refunded <= amount)
) WITH (fillfactor = 80);
CREATE INDEX payment_list ON payment (received_on DESC, id DESC);
CREATE INDEX payment_branch ON payment (branch_id, received_on DESC, id DESC);
CREATE INDEX payment_tender ON payment (tender, received_on DESC, id DESC);
CREATE INDEX payment_payer ON payment (payer_ref, received_on DESC, id DESC);
CREATE INDEX payment_source ON payment (source, received_on DESC, id DESC) WHERE source IS NOT NULL;
CREATE INDEX payment_shift ON payment (shift_id, received_on DESC, id DESC) WHERE shift_id IS NOT NULL;
CREATE INDEX payment_split ON payment (split_id) WHERE split_id IS NOT NULL;

-- What a payment is for. A release is a row of its own with a negative amount, so each running total is one sum.
CREATE TABLE payment_allocation (
  id uuid PRIMARY KEY,
  payment_id uuid NOT NULL REFERENCES payment,
  invoice_id uuid NOT NULL REFERENCES invoice,
  -- payment: at once when the money came; offset: later, out of the advance.
  kind text NOT NULL CHECK (kind IN ('payment', 'offset', 'release')),
  amount rub NOT NULL CHECK (amount <> 0 AND (amount < 0) = (kind = 'release')),
  -- The invoice is another payer's, and the caller said that this is meant.
  on_behalf boolean NOT NULL,
  split_id uuid,
  created_at timestamptz NOT NULL,
  created_by text NOT NULL
);
CREATE INDEX payment_allocation_payment ON payment_allocation (payment_id, id);
CREATE INDEX payment_allocation_invoice ON payment_allocation (invoice_id, id);
CREATE INDEX payment_allocation_split ON payment_allocation (split_id) WHERE split_id IS NOT NULL;
-- Which invoices of a payer money can go to, among many that are paid.
CREATE INDEX invoice_owed_by_payer ON invoice (payer_ref) WHERE status = 'issued' AND paid + credited < total;

CREATE TABLE refund (
  id uuid PRIMARY KEY,
  payment_id uuid NOT NULL REFERENCES payment,
  branch_id uuid NOT NULL REFERENCES branch,
  tender text NOT NULL CHECK (tender IN ('cash', 'card', 'transfer', 'online')),
  amount rub NOT NULL CHECK (amount > 0),
  reason_code text NOT NULL REFERENCES refund_reason,
  reason text NOT NULL,
  refunded_on date NOT NULL,
  shift_id uuid REFERENCES shift,
  created_at timestamptz NOT NULL,
  created_by text NOT NULL
);
CREATE INDEX refund_payment ON refund (payment_id, id);
CREATE INDEX refund_day ON refund (refunded_on);
CREATE INDEX refund_shift ON refund (shift_id) WHERE shift_id IS NOT NULL;

-- ---- Running totals follow from rows ----

-- The owner's, so that the application has no right to say «paid» by itself: it writes what the money is for, and this
-- moves the totals. Locks are taken in the order of all commands: invoices by id, then payments by id.
CREATE FUNCTION allocation_moves_money() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM invoice WHERE id IN (SELECT invoice_id FROM moved) ORDER BY id FOR NO KEY UPDATE;
  PERFORM 1 FROM payment WHERE id IN (SELECT payment_id FROM moved) ORDER BY id FOR NO KEY UPDATE;
  IF EXISTS (SELECT FROM moved
               JOIN invoice ON invoice.id = moved.invoice_id
               JOIN payment ON payment.id = moved.payment_id
              WHERE invoice.status <> 'issued' OR invoice.branch_id <> payment.branch_id
                 OR (moved.amount > 0 AND NOT moved.on_behalf AND invoice.payer_ref <> payment.payer_ref)) THEN
    RAISE EXCEPTION 'money goes to issued invoices of the same branch and payer' USING ERRCODE = 'restrict_violation';
  END IF;
  IF EXISTS (SELECT FROM payment_allocation
              WHERE (payment_id, invoice_id) IN (SELECT payment_id, invoice_id FROM moved WHERE amount < 0)
              GROUP BY payment_id, invoice_id HAVING sum(amount) < 0) THEN
    RAISE EXCEPTION 'more is released than was allocated' USING ERRCODE = 'check_violation';
  END IF;
  UPDATE invoice
     SET paid = paid + part.amount, row_version = row_version + 1, updated_at = greatest(updated_at, part.at)
    FROM (SELECT invoice_id, sum(amount) AS amount, max(created_at) AS at FROM moved GROUP BY invoice_id) AS part
   WHERE invoice.id = part.invoice_id;
  UPDATE payment
     SET allocated = allocated + part.amount
    FROM (SELECT payment_id, sum(amount) AS amount FROM moved GROUP BY payment_id) AS part
   WHERE payment.id = part.payment_id;
  RETURN NULL;
END $$;
CREATE TRIGGER allocation_moves_money AFTER INSERT ON payment_allocation REFERENCING NEW TABLE AS moved
  FOR EACH STATEMENT EXECUTE FUNCTION allocation_moves_money();

CREATE FUNCTION refund_moves_money() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM payment WHERE id IN (SELECT payment_id FROM moved) ORDER BY id FOR NO KEY UPDATE;
  IF EXISTS (SELECT FROM moved JOIN payment ON payment.id = moved.payment_id
              WHERE moved.branch_id <> payment.branch_id) THEN
    RAISE EXCEPTION 'money goes back in the branch it came to' USING ERRCODE = 'restrict_violation';
  END IF;
  UPDATE payment
     SET refunded = refunded + part.amount
    FROM (SELECT payment_id, sum(amount) AS amount FROM moved GROUP BY payment_id) AS part
   WHERE payment.id = part.payment_id;
  RETURN NULL;
END $$;
CREATE TRIGGER refund_moves_money AFTER INSERT ON refund REFERENCING NEW TABLE AS moved
  FOR EACH STATEMENT EXECUTE FUNCTION refund_moves_money();

-- Running totals and rows say the same, at every COMMIT.
CREATE FUNCTION payment_adds_up() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  of_payment uuid := CASE TG_TABLE_NAME WHEN 'payment' THEN to_jsonb(NEW)->>'id' ELSE to_jsonb(NEW)->>'payment_id' END;
BEGIN
  IF EXISTS (
    SELECT FROM payment
     WHERE id = of_payment
       AND (allocated, refunded) IS DISTINCT FROM (
           (SELECT coalesce(sum(amount), 0) FROM payment_allocation WHERE payment_id = payment.id),
           (SELECT coalesce(sum(amount), 0) FROM refund WHERE payment_id = payment.id))) THEN
    RAISE EXCEPTION 'payment % is not what its allocations and refunds add up to', of_payment
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER payment_adds_up AFTER INSERT OR UPDATE OF allocated, refunded ON payment
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payment_adds_up();
CREATE CONSTRAINT TRIGGER refund_adds_up AFTER INSERT ON refund
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payment_adds_up();
CREATE CONSTRAINT TRIGGER payment_allocation_adds_up AFTER INSERT ON payment_allocation
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payment_adds_up();

CREATE FUNCTION invoice_is_paid() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  of_invoice uuid := CASE TG_TABLE_NAME WHEN 'invoice' THEN to_jsonb(NEW)->>'id' ELSE to_jsonb(NEW)->>'invoice_id' END;
BEGIN
  IF EXISTS (
    SELECT FROM invoice
     WHERE id = of_invoice
       AND paid <> (SELECT coalesce(sum(amount), 0) FROM payment_allocation WHERE invoice_id = invoice.id)) THEN
    RAISE EXCEPTION 'invoice % is not paid as its allocations say', of_invoice USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER invoice_is_paid AFTER UPDATE OF paid ON invoice
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION invoice_is_paid();
CREATE CONSTRAINT TRIGGER payment_allocation_pays AFTER INSERT ON payment_allocation
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION invoice_is_paid();

-- ---- What never changes ----

CREATE FUNCTION payment_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF to_jsonb(OLD) - '{allocated,refunded}'::text[] <> to_jsonb(NEW) - '{allocated,refunded}'::text[] THEN
    RAISE EXCEPTION 'of a payment only allocated and refunded move' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER payment_stays BEFORE UPDATE ON payment FOR EACH ROW EXECUTE FUNCTION payment_stays();

-- A shift that is being closed at this moment is waited for, and then seen closed.
CREATE FUNCTION money_in_an_open_shift() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM shift
    WHERE id = NEW.shift_id AND branch_id = NEW.branch_id AND closed_at IS NULL FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'a closed shift takes no money' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER payment_in_an_open_shift BEFORE INSERT ON payment FOR EACH ROW
  WHEN (NEW.shift_id IS NOT NULL) EXECUTE FUNCTION money_in_an_open_shift();
CREATE TRIGGER refund_in_an_open_shift BEFORE INSERT ON refund FOR EACH ROW
  WHEN (NEW.shift_id IS NOT NULL) EXECUTE FUNCTION money_in_an_open_shift();

CREATE TRIGGER payment_allocation_frozen BEFORE UPDATE ON payment_allocation
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refund_frozen BEFORE UPDATE ON refund FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['payment', 'payment_allocation', 'refund', 'shift'] LOOP
    EXECUTE format('CREATE TRIGGER %I BEFORE DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
                   name || '_kept', name);
  END LOOP;
END $$;

GRANT SELECT ON payment, payment_allocation, refund, shift TO clinic_app;
GRANT INSERT ON payment_allocation, refund TO clinic_app;
-- Neither allocated nor refunded, nor a shift that begins closed.
GRANT INSERT (id, branch_id, payer_party, payer_ref, payer, tender, amount, source, external_ref, asked_sha256,
              received_on, shift_id, split_id, comment, created_at, created_by) ON payment TO clinic_app;
GRANT INSERT (id, branch_id, desk, opening_cash, opened_at, opened_by) ON shift TO clinic_app;
-- Locking a row asks for a right to update; the update itself is refused by payment_stays.
GRANT UPDATE (comment) ON payment TO clinic_app;
GRANT UPDATE (closed_at, closed_by, counted_cash, counted_card) ON shift TO clinic_app;
