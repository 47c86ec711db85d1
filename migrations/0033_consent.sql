-- billing: what goes beyond a firm quote is invoiced with the patient's consent, which the invoice names.

-- The caller's opaque reference of the signed consent (consumer law, article 33: a firm estimate is not exceeded without).
ALTER TABLE invoice ADD COLUMN consent_ref text CHECK (consent_ref ~ '^[!-~]{1,64}$');

-- Version 3 of what is hashed has the consent. Versions 1 and 2 stay what they were.
CREATE OR REPLACE FUNCTION invoice_content(doc invoice) RETURNS text LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT (jsonb_build_object(
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
                       THEN jsonb_build_array(
                              doctor_id, doctor_name_ru, doctor_name_en, package_id, package_code, package_name_ru,
                              package_name_en, package_no, package_quantity, list_amount::text)
                       ELSE '[]' END
             ORDER BY position)
        FROM invoice_line WHERE invoice_id = doc.id))
    || CASE WHEN doc.content_version >= 3 THEN jsonb_build_object('consent_ref', doc.consent_ref) ELSE '{}' END)::text
$$;
ALTER TABLE invoice ALTER COLUMN content_version SET DEFAULT 3;
UPDATE invoice SET content_version = 3 WHERE status = 'draft';

CREATE FUNCTION invoice_beyond_quote_is_agreed() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM invoice_line WHERE invoice_id = NEW.id AND quote_position IS NULL)
     AND EXISTS (SELECT FROM quote_revision
                  WHERE quote_id = NEW.quote_id AND revision = NEW.quote_revision AND kind = 'firm') THEN
    RAISE EXCEPTION 'invoice % goes beyond a firm quote without a consent', NEW.id USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER invoice_beyond_quote_is_agreed BEFORE UPDATE OF status ON invoice FOR EACH ROW
  WHEN (NEW.status = 'issued' AND OLD.status = 'draft' AND NEW.quote_id IS NOT NULL AND NEW.consent_ref IS NULL)
  EXECUTE FUNCTION invoice_beyond_quote_is_agreed();
