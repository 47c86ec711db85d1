-- catalog: services, the orders that price them, and prices by day, whose past never changes.
CREATE TABLE category (
  code text PRIMARY KEY CHECK (code ~ '^[a-z][a-z0-9_]{0,31}$'),
  id uuid NOT NULL UNIQUE,
  name_ru text NOT NULL,
  name_en text NOT NULL,
  parent text REFERENCES category,
  position integer NOT NULL,
  created_at timestamptz NOT NULL,
  CHECK (parent <> code)
);
-- Files name a category by its Russian name, so one name means one category, however it is written.
CREATE UNIQUE INDEX category_name ON category (translate(lower(name_ru), 'ё', 'е'));
GRANT SELECT, INSERT ON category TO clinic_app;

CREATE TABLE doctor_rank (
  code text PRIMARY KEY CHECK (code ~ '^[a-z][a-z0-9_]{0,31}$'),
  name_ru text NOT NULL,
  name_en text NOT NULL,
  position integer NOT NULL UNIQUE
);
-- `none` is a row like the others: a NULL in a price's key would switch its EXCLUDE constraint off.
INSERT INTO doctor_rank (code, name_ru, name_en, position) VALUES
  ('none', 'врач', 'doctor', 1),
  ('candidate', 'к.м.н.', 'Candidate of Medical Science', 2),
  ('doctor', 'д.м.н.', 'Doctor of Medicine', 3),
  ('professor', 'профессор', 'professor', 4);
GRANT SELECT ON doctor_rank TO clinic_app;

-- Exempt and "not a payer" are no rates: their percent is NULL, which is not 0 %.
CREATE TABLE vat_rate (
  category text NOT NULL CHECK (category IN ('exempt_medical', 'standard', 'reduced', 'zero', 'not_payer')),
  rate percent,
  valid daterange NOT NULL CHECK (NOT isempty(valid)),
  CHECK ((rate IS NULL) = (category IN ('exempt_medical', 'not_payer'))),
  EXCLUDE USING gist (category WITH =, valid WITH &&)
);
INSERT INTO vat_rate (category, rate, valid) VALUES
  ('exempt_medical', NULL, '(,)'),
  ('not_payer', NULL, '(,)'),
  ('zero', 0, '(,)'),
  ('reduced', 10, '(,)'),
  ('standard', 20, '(,2026-01-01)'),
  ('standard', 22, '[2026-01-01,)');
GRANT SELECT ON vat_rate TO clinic_app;

CREATE TABLE price_list (
  code text PRIMARY KEY CHECK (code ~ '^[a-z][a-z0-9_-]{0,31}$'),
  name_ru text NOT NULL,
  name_en text NOT NULL,
  public boolean NOT NULL DEFAULT false,
  -- Where a service without a price in this list is looked up next.
  fallback text REFERENCES price_list CHECK (fallback <> code)
);
INSERT INTO price_list (code, name_ru, name_en, public) VALUES ('base', 'Основной прейскурант', 'Base price list', true);
GRANT SELECT, INSERT ON price_list TO clinic_app;
-- The right to lock a row for publishing is the right to update some column of it.
GRANT UPDATE (name_ru, name_en) ON price_list TO clinic_app;

CREATE TABLE medical_service (
  id uuid PRIMARY KEY,
  article text NOT NULL UNIQUE CHECK (article ~ '^[A-Z0-9][A-Z0-9._-]{0,31}$'),
  name_ru text NOT NULL,
  name_en text NOT NULL,
  category text NOT NULL REFERENCES category,
  -- Codes of Order 804n: none, one or several, and not unique.
  nomenclature_codes text[] NOT NULL DEFAULT '{}',
  unit text NOT NULL DEFAULT 'услуга',
  vat_category text NOT NULL CHECK (vat_category IN ('exempt_medical', 'standard', 'reduced', 'zero', 'not_payer')),
  tax_deduction_code text NOT NULL DEFAULT '1' CHECK (tax_deduction_code IN ('1', '2')),
  priced_by_rank boolean NOT NULL,
  discountable boolean NOT NULL DEFAULT true,
  active boolean NOT NULL DEFAULT true,
  note text,
  row_version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  search text NOT NULL
    GENERATED ALWAYS AS (translate(lower(name_ru || ' ' || name_en || ' ' || article), 'ё', 'е')) STORED
);
CREATE INDEX medical_service_search ON medical_service USING gin (search gin_trgm_ops);
-- Services that words with typing errors may mean, best first; the longest word comes first, for the index.
-- The inner limit bounds the work when half the catalog resembles the words.
CREATE FUNCTION services_resembling(words text[]) RETURNS SETOF uuid LANGUAGE sql STABLE
SET search_path = public, pg_temp SET pg_trgm.word_similarity_threshold = 0.4 AS $$
  SELECT id FROM (
    SELECT id, article, search FROM medical_service
     WHERE words[1] <% search AND (SELECT bool_and(word <% search) FROM unnest(words) AS word)
     LIMIT 400) AS resembling
   ORDER BY word_similarity(array_to_string(words, ' '), search) DESC, article
   LIMIT 100
$$;
CREATE INDEX medical_service_category ON medical_service (category, article);
GRANT SELECT, INSERT ON medical_service TO clinic_app;
GRANT UPDATE (name_ru, name_en, category, nomenclature_codes, unit, vat_category, tax_deduction_code, priced_by_rank,
              discountable, active, note, row_version, updated_at) ON medical_service TO clinic_app;

CREATE TABLE price_order (
  id uuid PRIMARY KEY,
  number text NOT NULL CHECK (length(number) BETWEEN 1 AND 32),
  date date NOT NULL,
  price_list text NOT NULL REFERENCES price_list,
  effective_from date NOT NULL CHECK (isfinite(effective_from)),
  status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'published')),
  author text NOT NULL,
  published_by text,
  published_at timestamptz,
  note text,
  corrects uuid REFERENCES price_order CHECK (corrects <> id),
  row_version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK ((status = 'published') = (published_at IS NOT NULL) AND (status = 'published') = (published_by IS NOT NULL))
);
CREATE UNIQUE INDEX price_order_number ON price_order (price_list, (extract(year FROM date)::integer), number);
CREATE INDEX price_order_list ON price_order (date DESC, id DESC);
GRANT SELECT, INSERT ON price_order TO clinic_app;
GRANT UPDATE (number, date, effective_from, status, published_by, published_at, note, corrects, row_version, updated_at)
  ON price_order TO clinic_app;

CREATE TABLE price_order_line (
  order_id uuid NOT NULL REFERENCES price_order,
  position integer NOT NULL CHECK (position >= 1),
  service_id uuid NOT NULL REFERENCES medical_service,
  -- NULL: withdrawn for every rank.
  doctor_rank text REFERENCES doctor_rank CHECK (doctor_rank IS NOT NULL OR kind = 'withdrawn'),
  kind text NOT NULL CHECK (kind IN ('fixed', 'from', 'on_request', 'withdrawn')),
  amount rub CHECK (amount >= 0),
  CHECK ((kind IN ('fixed', 'from')) = (amount IS NOT NULL)),
  PRIMARY KEY (order_id, position),
  UNIQUE NULLS NOT DISTINCT (order_id, service_id, doctor_rank)
);
GRANT SELECT, INSERT, DELETE ON price_order_line TO clinic_app;

CREATE TABLE price (
  id uuid PRIMARY KEY,
  service_id uuid NOT NULL REFERENCES medical_service,
  doctor_rank text NOT NULL REFERENCES doctor_rank,
  price_list text NOT NULL REFERENCES price_list,
  kind text NOT NULL CHECK (kind IN ('fixed', 'from', 'on_request', 'withdrawn')),
  amount rub CHECK (amount >= 0),
  -- An empty range overlaps nothing, and a bound of infinity is not an open bound: both would get past EXCLUDE.
  valid daterange NOT NULL CHECK (NOT isempty(valid) AND NOT lower_inf(valid) AND isfinite(lower(valid))
                                  AND (upper_inf(valid) OR isfinite(upper(valid)))),
  order_id uuid NOT NULL REFERENCES price_order,
  corrected_by uuid REFERENCES price_order,
  CHECK ((kind IN ('fixed', 'from')) = (amount IS NOT NULL)),
  CONSTRAINT price_no_overlap
    EXCLUDE USING gist (service_id WITH =, doctor_rank WITH =, price_list WITH =, valid WITH &&)
    WHERE (corrected_by IS NULL) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX price_lookup ON price (service_id, price_list, doctor_rank);
CREATE INDEX price_of_order ON price (order_id);
GRANT SELECT, INSERT ON price TO clinic_app;
GRANT UPDATE (valid, corrected_by) ON price TO clinic_app;

-- What is published stays as it is, for the owner too.
CREATE FUNCTION service_article_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the article of a service never changes' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER medical_service_article_stays BEFORE UPDATE ON medical_service FOR EACH ROW
  WHEN (NEW.article <> OLD.article OR NEW.id <> OLD.id) EXECUTE FUNCTION service_article_stays();

CREATE FUNCTION price_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'of a price only an earlier end or its correction may be set' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER price_stays BEFORE UPDATE ON price FOR EACH ROW
  WHEN ((NEW.id, NEW.service_id, NEW.doctor_rank, NEW.price_list, NEW.kind, NEW.order_id)
          <> (OLD.id, OLD.service_id, OLD.doctor_rank, OLD.price_list, OLD.kind, OLD.order_id)
        OR NEW.amount IS DISTINCT FROM OLD.amount
        OR lower(NEW.valid) <> lower(OLD.valid)
        OR NOT NEW.valid <@ OLD.valid
        OR (OLD.corrected_by IS NOT NULL AND NEW.corrected_by IS DISTINCT FROM OLD.corrected_by))
  EXECUTE FUNCTION price_stays();

CREATE FUNCTION price_order_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'an order begins as a draft, and is frozen once published' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER price_order_begins BEFORE INSERT ON price_order FOR EACH ROW
  WHEN (NEW.status <> 'draft') EXECUTE FUNCTION price_order_stays();
CREATE TRIGGER price_order_frozen BEFORE UPDATE ON price_order FOR EACH ROW
  WHEN (OLD.status = 'published') EXECUTE FUNCTION price_order_stays();

-- FOR SHARE waits for an order that is being published at this moment and then sees it published.
CREATE FUNCTION price_order_lines_of_drafts() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM (SELECT status FROM price_order WHERE id IN (SELECT order_id FROM touched) FOR SHARE) AS orders
    WHERE orders.status <> 'draft';
  IF FOUND THEN
    RAISE EXCEPTION 'lines of a published order are frozen' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER price_order_line_added AFTER INSERT ON price_order_line REFERENCING NEW TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION price_order_lines_of_drafts();
CREATE TRIGGER price_order_line_removed AFTER DELETE ON price_order_line REFERENCING OLD TABLE AS touched
  FOR EACH STATEMENT EXECUTE FUNCTION price_order_lines_of_drafts();
CREATE TRIGGER price_order_line_frozen BEFORE UPDATE ON price_order_line
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['category', 'medical_service', 'price_list', 'price_order', 'price'] LOOP
    EXECUTE format('CREATE TRIGGER %I BEFORE DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()',
                   name || '_kept', name);
  END LOOP;
END $$;
CREATE TRIGGER price_order_line_stays BEFORE TRUNCATE ON price_order_line
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Counts the changes of what the price feed shows, so that a server knows by one number whether its bytes are fresh.
-- A row, not a sequence: the new number must not be seen before the change itself.
CREATE TABLE catalog_version (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  version bigint NOT NULL
) WITH (fillfactor = 20);
INSERT INTO catalog_version (version) VALUES (1);
GRANT SELECT ON catalog_version TO clinic_app;

CREATE FUNCTION catalog_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
  UPDATE catalog_version SET version = version + 1;
  RETURN NULL;
END $$;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['category', 'doctor_rank', 'medical_service', 'price_list', 'price'] LOOP
    EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT '
                   'EXECUTE FUNCTION catalog_changed()', name || '_changes_catalog', name);
  END LOOP;
END $$;
