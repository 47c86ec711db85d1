-- billing: a package stands on a document as one line per part, each with its share of the price of the package.

-- A copy, as all that a line says. `package_no` is which package of the document it is, `package_quantity` how many of
-- them, `list_amount` what the part costs alone; `gross` is its share.
ALTER TABLE quote_line
  ADD COLUMN package_id uuid,
  ADD COLUMN package_code text,
  ADD COLUMN package_name_ru text,
  ADD COLUMN package_name_en text,
  ADD COLUMN package_no integer CHECK (package_no >= 1),
  ADD COLUMN package_quantity integer CHECK (package_quantity >= 1),
  ADD COLUMN list_amount rub CHECK (list_amount >= 0),
  ADD CHECK (num_nulls(package_id, package_code, package_name_ru, package_name_en, package_no, package_quantity,
                       list_amount) IN (0, 7)),
  DROP CONSTRAINT quote_line_check1,
  ADD CONSTRAINT quote_line_gross
    CHECK (CASE WHEN package_id IS NULL THEN gross ELSE list_amount END = round(unit_price * quantity, 2)),
  -- The price of a package is a discount already: no other one comes on top.
  ADD CONSTRAINT quote_line_of_package
    CHECK (package_id IS NULL OR price_kind = 'fixed' AND NOT discountable AND discount = 0 AND document_discount = 0);
ALTER TABLE invoice_line
  ADD COLUMN package_id uuid,
  ADD COLUMN package_code text,
  ADD COLUMN package_name_ru text,
  ADD COLUMN package_name_en text,
  ADD COLUMN package_no integer CHECK (package_no >= 1),
  ADD COLUMN package_quantity integer CHECK (package_quantity >= 1),
  ADD COLUMN list_amount rub CHECK (list_amount >= 0),
  ADD CHECK (num_nulls(package_id, package_code, package_name_ru, package_name_en, package_no, package_quantity,
                       list_amount) IN (0, 7)),
  ADD CONSTRAINT invoice_line_of_package
    CHECK (package_id IS NULL OR price_kind = 'fixed' AND NOT discountable AND discount = 0 AND document_discount = 0);

-- What the hash of an issued invoice is taken over: version 2 has the doctor and the package of a line. Version 1 stays
-- what it was.
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
                       THEN jsonb_build_array(
                              doctor_id, doctor_name_ru, doctor_name_en, package_id, package_code, package_name_ru,
                              package_name_en, package_no, package_quantity, list_amount::text)
                       ELSE '[]' END
             ORDER BY position)
        FROM invoice_line WHERE invoice_id = doc.id))::text
$$;
