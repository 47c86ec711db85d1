-- billing: guarantee letters of insurers: until when and up to how much what is invoiced under one is promised.

-- A letter is the insurer's with the whole clinic, so it belongs to no branch and stands before no wall: its limit is
-- one for the invoices of all branches. What is used of it follows from those invoices, by a trigger of the owner.
CREATE TABLE guarantee_letter (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  insurer_inn text NOT NULL,
  number text NOT NULL,
  valid_until date,
  limit_amount rub CHECK (limit_amount >= 0),
  used rub NOT NULL DEFAULT 0,
  UNIQUE (insurer_inn, number),
  CONSTRAINT guarantee_limit CHECK (used >= 0 AND used <= limit_amount)
);
GRANT SELECT ON guarantee_letter TO clinic_app;

CREATE INDEX invoice_guarantee_letter ON invoice ((payer ->> 'inn'), (payer #>> '{guarantee_letter,number}'))
  WHERE number IS NOT NULL AND payer #>> '{guarantee_letter,number}' IS NOT NULL;

-- Letters of invoices that are issued already. Where those contradict one another or exceed the limit, nobody checked it
-- at the time: such a letter is kept without what it cannot promise any more.
INSERT INTO guarantee_letter (insurer_inn, number, valid_until, limit_amount, used)
SELECT inn, number, CASE WHEN count(DISTINCT valid_until) = 1 THEN max(valid_until) END,
       CASE WHEN count(DISTINCT limit_amount) = 1 AND sum(used) <= max(limit_amount) THEN max(limit_amount) END, sum(used)
  FROM (SELECT payer ->> 'inn' AS inn, payer #>> '{guarantee_letter,number}' AS number,
               (payer #>> '{guarantee_letter,valid_until}')::date AS valid_until,
               (payer #>> '{guarantee_letter,limit}')::numeric AS limit_amount, total - credited AS used
          FROM invoice
         WHERE invoice.number IS NOT NULL AND payer #>> '{guarantee_letter,number}' IS NOT NULL) AS issued
 GROUP BY inn, number;

-- The letter, made or matched, and locked until COMMIT. While nothing is used of it, what is stated anew replaces what
-- is known: so a slip is put right by cancelling the invoice.
CREATE FUNCTION guarantee_letter_locked(inn text, letter text, until date, most numeric) RETURNS guarantee_letter
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  INSERT INTO guarantee_letter AS known (insurer_inn, number, valid_until, limit_amount) VALUES (inn, letter, until, most)
  ON CONFLICT (insurer_inn, number) DO UPDATE
    SET valid_until = CASE WHEN known.used = 0 THEN coalesce(EXCLUDED.valid_until, known.valid_until)
                           ELSE known.valid_until END,
        limit_amount = CASE WHEN known.used = 0 THEN coalesce(EXCLUDED.limit_amount, known.limit_amount)
                            ELSE known.limit_amount END
  RETURNING known.*
$$;
REVOKE ALL ON FUNCTION guarantee_letter_locked FROM PUBLIC;
GRANT EXECUTE ON FUNCTION guarantee_letter_locked TO clinic_app;

CREATE FUNCTION guarantee_letter_is_used() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
  stated jsonb := NEW.payer -> 'guarantee_letter';
  letter guarantee_letter;
BEGIN
  IF OLD.status = 'draft' AND NEW.status = 'issued' THEN
    letter := guarantee_letter_locked(NEW.payer ->> 'inn', stated ->> 'number', (stated ->> 'valid_until')::date,
                                      (stated ->> 'limit')::numeric);
    IF letter.valid_until IS DISTINCT FROM coalesce((stated ->> 'valid_until')::date, letter.valid_until)
       OR letter.limit_amount IS DISTINCT FROM coalesce((stated ->> 'limit')::numeric, letter.limit_amount) THEN
      RAISE EXCEPTION 'guarantee letter % is known with other terms', letter.number USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM invoice_line
                WHERE invoice_id = NEW.id AND coalesce(service_date, NEW.date) > letter.valid_until) THEN
      RAISE EXCEPTION 'guarantee letter % has expired', letter.number USING ERRCODE = 'check_violation';
    END IF;
    UPDATE guarantee_letter SET used = used + NEW.total - NEW.credited WHERE id = letter.id;
  ELSIF OLD.status <> 'draft' THEN
    UPDATE guarantee_letter SET used = used + OLD.credited - NEW.credited
     WHERE insurer_inn = NEW.payer ->> 'inn' AND number = stated ->> 'number';
  END IF;
  RETURN NULL;
END $$;
-- A cancelled invoice is credited whole, so nothing of it is used.
CREATE TRIGGER guarantee_letter_is_used AFTER UPDATE OF status, credited ON invoice FOR EACH ROW
  WHEN (NEW.payer #>> '{guarantee_letter,number}' IS NOT NULL
        AND (OLD.status <> NEW.status OR OLD.credited <> NEW.credited))
  EXECUTE FUNCTION guarantee_letter_is_used();
