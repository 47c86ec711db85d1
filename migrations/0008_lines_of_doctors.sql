-- billing: lines name their doctor, also in the hash of an invoice, and an insurer's prices are for that insurer's bills.

-- A copy, as all that a line says: a doctor who is renamed or promoted later changes no document.
ALTER TABLE quote_line
  ADD COLUMN doctor_id uuid,
  ADD COLUMN doctor_name_ru text,
  ADD COLUMN doctor_name_en text,
  ADD CHECK ((doctor_id IS NULL) = (doctor_name_ru IS NULL) AND (doctor_id IS NULL) = (doctor_name_en IS NULL));
ALTER TABLE invoice_line
  ADD COLUMN doctor_id uuid,
  ADD COLUMN doctor_name_ru text,
  ADD COLUMN doctor_name_en text,
  ADD CHECK ((doctor_id IS NULL) = (doctor_name_ru IS NULL) AND (doctor_id IS NULL) = (doctor_name_en IS NULL));

-- What the hash of an issued invoice is taken over. No names of persons who pay or are treated: their digests stand for
-- them. Nothing that changes later: no status, paid, credited. Columns are listed, and what a version lists stays, so
-- that a column added later changes no old hash: what was issued at version 1 is read as version 1 for ever.
CREATE OR REPLACE FUNCTION invoice_content(doc invoice) RETURNS text LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT jsonb_build_object(
    'version', doc.content_version, 'id', doc.id, 'branch', doc.branch_id, 'number', doc.number,
    'sequence', doc.sequence, 'date', doc.date, 'due_date', doc.due_date, 'supplier', doc.supplier,
    'quote', doc.quote_id, 'quote_revision', doc.quote_revision,
    'patient', (SELECT jsonb_build_array(ref, encode(digest, 'hex')) FROM party WHERE id = doc.patient_party),
    'payer', doc.payer || (SELECT jsonb_build_object('ref', ref, 'digest', encode(digest, 'hex'))
                             FROM party WHERE id = doc.payer_party),
    'subtotal', doc.subtotal::text, 'discount', doc.discount::text, 'total', doc.total::text,
    'comment', doc.comment,
    'lines', (
      SELECT jsonb_agg(
               jsonb_build_array(
                 position, article, name_ru, name_en, nomenclature_codes, unit, doctor_rank, rank_name_ru, rank_name_en,
                 quantity::text, service_date, price_kind, unit_price::text, price_reason, priced_by, gross::text,
                 discount_percent::text, discount_amount::text, discount_reason, discount::text,
                 document_discount::text, amount::text, vat_category, vat_rate::text, vat_amount::text,
                 tax_deduction_code, price_id, price_list, order_id, order_number, order_date, fallback)
               || CASE WHEN doc.content_version >= 2
                       THEN jsonb_build_array(doctor_id, doctor_name_ru, doctor_name_en)
                       ELSE '[]' END
             ORDER BY position)
        FROM invoice_line WHERE invoice_id = doc.id))::text
$$;
ALTER TABLE invoice ALTER COLUMN content_version SET DEFAULT 2;
-- Drafts have no hash yet: theirs will be of the version of the day they are issued.
UPDATE invoice SET content_version = 2 WHERE status = 'draft';

-- What was agreed with one insurer is nobody else's. The list is the catalog's table, and is read here because no
-- program can promise it: of a list neither kind nor insurer ever changes (price_list_stays), so what holds when an
-- invoice is written and when its payer changes holds for ever, and issuing need not ask again.
CREATE FUNCTION invoice_payer_of_list() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM price_list
              WHERE code = NEW.price_list AND kind = 'insurer'
                AND (NEW.payer->>'kind', NEW.payer->>'inn') IS DISTINCT FROM ('insurer', insurer_inn)) THEN
    RAISE EXCEPTION 'the price list % is for another payer', NEW.price_list USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER invoice_payer_of_list BEFORE INSERT OR UPDATE OF payer, price_list ON invoice
  FOR EACH ROW WHEN (NEW.price_list <> 'base') EXECUTE FUNCTION invoice_payer_of_list();
