-- billing: which law a paper refers to, by the day of the paper: acts end, and nothing refers to one that has.

CREATE TABLE legal_reference (
  id uuid PRIMARY KEY,
  code text NOT NULL CHECK (code IN ('paid_services', 'vat_exemption')),
  text_ru text NOT NULL CHECK (text_ru <> '' AND length(text_ru) <= 500),
  text_en text NOT NULL CHECK (text_en <> '' AND length(text_en) <= 500),
  valid daterange NOT NULL CHECK (NOT isempty(valid) AND NOT lower_inf(valid)),
  EXCLUDE USING gist (code WITH =, valid WITH &&)
);
INSERT INTO legal_reference (id, code, text_ru, text_en, valid) VALUES
  (gen_random_uuid(), 'paid_services',
   'Правила предоставления медицинскими организациями платных медицинских услуг, утверждённые постановлением '
   'Правительства РФ от 11.05.2023 № 736',
   'Rules of paid medical services, approved by Decree of the Government of the Russian Federation No. 736 of 11 May 2023',
   '[2023-09-01,2026-09-01)'),
  (gen_random_uuid(), 'vat_exemption',
   'Не облагается НДС: пп. 2 п. 2 ст. 149 НК РФ',
   'Exempt from VAT: Tax Code of the Russian Federation, article 149, paragraph 2, subparagraph 2', '[2001-01-01,)');
GRANT SELECT, INSERT ON legal_reference TO clinic_app;
GRANT UPDATE (valid) ON legal_reference TO clinic_app;

-- What was printed stays explained: a period is only ended or prolonged, and never for a day that is over. The day before
-- today by the world's clock is over in no zone that differs by less than a day.
CREATE FUNCTION keep_legal_reference() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' OR (NEW.id, NEW.code, NEW.text_ru, NEW.text_en, lower(NEW.valid))
                         IS DISTINCT FROM (OLD.id, OLD.code, OLD.text_ru, OLD.text_en, lower(OLD.valid))
     OR upper(NEW.valid) IS DISTINCT FROM upper(OLD.valid)
        AND least(coalesce(upper(NEW.valid), 'infinity'), coalesce(upper(OLD.valid), 'infinity'))
            < (now() AT TIME ZONE 'UTC')::date - 1 THEN
    RAISE EXCEPTION 'a period of legal reference % is over', OLD.code USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER keep_legal_reference BEFORE UPDATE OR DELETE ON legal_reference
  FOR EACH ROW EXECUTE FUNCTION keep_legal_reference();

CREATE FUNCTION legal_references_lacking(day date) RETURNS text[]
  LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  SELECT coalesce(array_agg(code ORDER BY code), '{}')
    FROM unnest(ARRAY['paid_services', 'vat_exemption']) AS wanted (code)
   WHERE NOT EXISTS (SELECT FROM legal_reference WHERE legal_reference.code = wanted.code AND valid @> day)
$$;
