-- billing: a quote on paper can be checked against the one that is kept, by a fingerprint of what it says.

-- What a revision says, without names of persons and without what moves later: state, approval and the last day, which
-- may be extended. Columns are listed, so that one added later changes no fingerprint printed before.
CREATE FUNCTION quote_content(doc quote_revision) RETURNS text LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT jsonb_build_object(
    'version', 1, 'code', (SELECT code FROM quote WHERE id = doc.quote_id), 'revision', doc.revision,
    'kind', doc.kind, 'date', doc.date, 'price_list', doc.price_list, 'comment', doc.comment,
    'subtotal', doc.subtotal::text, 'discount', doc.discount::text, 'total', doc.total::text,
    'lines', (
      SELECT jsonb_agg(
               jsonb_build_array(
                 position, article, name_ru, name_en, nomenclature_codes, unit, doctor_rank, rank_name_ru, rank_name_en,
                 doctor_name_ru, doctor_name_en, quantity::text, service_date, unit_price::text, gross::text,
                 discount::text, document_discount::text, amount::text, vat_category, vat_rate::text, vat_amount::text,
                 order_number, order_date, package_code, package_no, package_quantity, list_amount::text)
             ORDER BY position)
        FROM quote_line WHERE quote_id = doc.quote_id AND revision = doc.revision))::text
$$;

-- Twelve hexadecimal digits: short enough to be typed from paper.
CREATE FUNCTION quote_fingerprint(doc quote_revision) RETURNS text LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT left(encode(sha256(convert_to(quote_content(doc), 'UTF8')), 'hex'), 12)
$$;
