-- catalog: price lists by payer, doctors whose rank follows the day, packages, the state's nomenclature, orders put away.

-- ---- Price lists ----

ALTER TABLE price_list
  ADD COLUMN kind text NOT NULL DEFAULT 'other' CHECK (kind IN ('base', 'insurer', 'foreign', 'staff', 'other')),
  -- Whose patients an insurer's list is for, and the contract that agreed on it.
  ADD COLUMN insurer_inn text CHECK (insurer_inn ~ '^[0-9]{10}$'),
  ADD COLUMN contract_number text,
  -- The days on which something can be sold at this list; the period of the contract.
  ADD COLUMN valid daterange NOT NULL DEFAULT '(,)' CHECK (NOT isempty(valid)),
  ADD COLUMN row_version integer NOT NULL DEFAULT 1;
UPDATE price_list SET kind = 'base' WHERE code = 'base';
ALTER TABLE price_list
  ADD CHECK ((kind = 'base') = (code = 'base')),
  ADD CHECK ((kind = 'insurer') = (insurer_inn IS NOT NULL)),
  ADD CHECK ((kind = 'insurer') <= (contract_number IS NOT NULL)),
  -- What was agreed with one payer is nobody else's.
  ADD CHECK (NOT (public AND kind IN ('insurer', 'staff')));
GRANT UPDATE (contract_number, valid, row_version) ON price_list TO clinic_app;

-- A fallback is named when the list is made and stays, or the answers for days that have passed would change. It can
-- only name a list that exists, so no circle comes about; and never an insurer's, whose prices are for one payer.
CREATE FUNCTION price_list_stays() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF (OLD.code, OLD.kind, OLD.public) <> (NEW.code, NEW.kind, NEW.public)
       OR OLD.fallback IS DISTINCT FROM NEW.fallback OR OLD.insurer_inn IS DISTINCT FROM NEW.insurer_inn
       OR lower(OLD.valid) IS DISTINCT FROM lower(NEW.valid) THEN
      RAISE EXCEPTION 'of a price list only its names, contract number and end change' USING ERRCODE = 'restrict_violation';
    END IF;
  ELSIF EXISTS (SELECT FROM price_list WHERE code = NEW.fallback AND kind = 'insurer') THEN
    RAISE EXCEPTION 'no list falls back to an insurer''s' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER price_list_stays BEFORE INSERT OR UPDATE ON price_list
  FOR EACH ROW EXECUTE FUNCTION price_list_stays();

-- The lists a price is looked for in: the one asked (step 0), and those it falls back to, one after the other. One that
-- is not in force on a day is passed over that day; whether the list asked must be, the statement says.
CREATE FUNCTION price_lists_asked(asked text, OUT code text, OUT valid daterange, OUT step integer)
RETURNS SETOF record LANGUAGE sql STABLE ROWS 2 SET search_path = public, pg_temp AS $$
  WITH RECURSIVE list AS (
    SELECT code, fallback, valid, 0 AS step FROM price_list WHERE code = asked
     UNION ALL
    SELECT next.code, next.fallback, next.valid, list.step + 1
      FROM list
      JOIN price_list AS next ON next.code = list.fallback)
  SELECT code, valid, step FROM list
$$;

-- ---- Ranks and doctors ----

ALTER TABLE doctor_rank
  ADD COLUMN row_version integer NOT NULL DEFAULT 1,
  DROP CONSTRAINT doctor_rank_position_key,
  -- Deferrable, so that ranks can change places.
  ADD UNIQUE (position) DEFERRABLE INITIALLY DEFERRED;
GRANT INSERT, UPDATE (name_ru, name_en, position, row_version) ON doctor_rank TO clinic_app;
CREATE TRIGGER doctor_rank_kept BEFORE DELETE OR TRUNCATE ON doctor_rank
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE doctor (
  id uuid PRIMARY KEY,
  external_id text UNIQUE CHECK (external_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
  name_ru text NOT NULL,
  name_en text NOT NULL,
  specialty_ru text NOT NULL,
  specialty_en text NOT NULL,
  active boolean NOT NULL DEFAULT true,
  row_version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
GRANT SELECT, INSERT ON doctor TO clinic_app;
GRANT UPDATE (external_id, name_ru, name_en, specialty_ru, specialty_en, active, row_version, updated_at) ON doctor
  TO clinic_app;
CREATE TRIGGER doctor_kept BEFORE DELETE OR TRUNCATE ON doctor FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The rank a doctor has from a day on. Written once: what was recorded later for the same day puts the former right.
CREATE TABLE doctor_promotion (
  id uuid PRIMARY KEY,
  doctor_id uuid NOT NULL REFERENCES doctor,
  doctor_rank text NOT NULL REFERENCES doctor_rank,
  since date NOT NULL CHECK (isfinite(since)),
  recorded_by text NOT NULL,
  recorded_at timestamptz NOT NULL
);
-- Ids are ordered by time.
CREATE INDEX doctor_promotion_lookup ON doctor_promotion (doctor_id, since DESC, id DESC) INCLUDE (doctor_rank);
GRANT SELECT, INSERT ON doctor_promotion TO clinic_app;
CREATE TRIGGER doctor_promotion_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON doctor_promotion
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ---- Services ----

-- «Sold no longer» begins on a day, so that what was sold before it can still be invoiced.
ALTER TABLE medical_service ADD COLUMN inactive_since date CHECK (isfinite(inactive_since));
UPDATE medical_service SET inactive_since = (updated_at AT TIME ZONE 'Europe/Moscow')::date WHERE NOT active;
ALTER TABLE medical_service ADD CHECK (active = (inactive_since IS NULL));
GRANT UPDATE (inactive_since) ON medical_service TO clinic_app;

-- The register of Order 804n as the state publishes it (OID 1.2.643.5.1.13.13.11.1070); empty until it is loaded.
CREATE TABLE nomenclature (
  code text PRIMARY KEY,
  official_id text NOT NULL,
  name text NOT NULL,
  in_force boolean NOT NULL,
  ended_on date
);
GRANT SELECT, INSERT, UPDATE ON nomenclature TO clinic_app;
CREATE TRIGGER nomenclature_kept BEFORE DELETE OR TRUNCATE ON nomenclature
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ---- Packages ----

CREATE TABLE package (
  id uuid PRIMARY KEY,
  code text NOT NULL CHECK (code ~ '^[A-Z0-9][A-Z0-9._-]{0,31}$'),
  price_list text NOT NULL REFERENCES price_list,
  name_ru text NOT NULL,
  name_en text NOT NULL,
  note text,
  -- What all of it costs, or what is taken off the sum of its parts.
  total rub CHECK (total >= 0),
  percent_off percent,
  parts smallint NOT NULL CHECK (parts >= 1),
  valid daterange NOT NULL CHECK (NOT isempty(valid) AND NOT lower_inf(valid) AND isfinite(lower(valid))
                                  AND (upper_inf(valid) OR isfinite(upper(valid)))),
  author text NOT NULL,
  row_version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK ((total IS NULL) <> (percent_off IS NULL)),
  CONSTRAINT package_no_overlap EXCLUDE USING gist (code WITH =, price_list WITH =, valid WITH &&)
);
GRANT SELECT, INSERT ON package TO clinic_app;
GRANT UPDATE (name_ru, name_en, note, valid, row_version, updated_at) ON package TO clinic_app;

CREATE TABLE package_part (
  package_id uuid NOT NULL REFERENCES package,
  position smallint NOT NULL CHECK (position >= 1),
  service_id uuid NOT NULL REFERENCES medical_service,
  doctor_rank text NOT NULL REFERENCES doctor_rank,
  quantity numeric NOT NULL CHECK (quantity > 0 AND quantity < 1e6 AND scale(quantity) <= 3),
  PRIMARY KEY (package_id, position),
  UNIQUE (package_id, service_id, doctor_rank)
);
GRANT SELECT, INSERT ON package_part TO clinic_app;

-- What a package is made of and what it costs never changes: another one under the same code follows it.
CREATE FUNCTION package_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'of a package only its names, note and end change' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER package_stays BEFORE UPDATE ON package FOR EACH ROW
  WHEN ((NEW.id, NEW.code, NEW.price_list, NEW.parts, NEW.author, lower(NEW.valid))
          <> (OLD.id, OLD.code, OLD.price_list, OLD.parts, OLD.author, lower(OLD.valid))
        OR NEW.total IS DISTINCT FROM OLD.total OR NEW.percent_off IS DISTINCT FROM OLD.percent_off)
  EXECUTE FUNCTION package_stays();
CREATE TRIGGER package_kept BEFORE DELETE OR TRUNCATE ON package FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER package_part_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON package_part
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION package_is_whole() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  of_package uuid := CASE TG_TABLE_NAME WHEN 'package' THEN to_jsonb(NEW)->>'id' ELSE to_jsonb(NEW)->>'package_id' END;
BEGIN
  IF (SELECT parts FROM package WHERE id = of_package)
     <> (SELECT count(*) FROM package_part WHERE package_id = of_package) THEN
    RAISE EXCEPTION 'a package has the parts it was made with' USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER package_is_whole AFTER INSERT ON package DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION package_is_whole();
CREATE CONSTRAINT TRIGGER package_part_of_whole AFTER INSERT ON package_part DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION package_is_whole();

-- ---- Orders put away ----

ALTER TABLE price_order
  DROP CONSTRAINT price_order_status_check,
  ADD CONSTRAINT price_order_status_check CHECK (status IN ('draft', 'published', 'discarded'));
-- A draft put away gives its number back.
DROP INDEX price_order_number;
CREATE UNIQUE INDEX price_order_number ON price_order (price_list, (extract(year FROM date)::integer), number)
  WHERE status <> 'discarded';
DROP TRIGGER price_order_frozen ON price_order;
CREATE TRIGGER price_order_frozen BEFORE UPDATE ON price_order FOR EACH ROW
  WHEN (OLD.status <> 'draft') EXECUTE FUNCTION price_order_stays();

-- ---- The feed ----

-- When the catalog changed last: a whole second that no other version has, so that a date names one content.
ALTER TABLE catalog_version ADD COLUMN changed_at timestamptz(0) NOT NULL DEFAULT now();
CREATE OR REPLACE FUNCTION catalog_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
  UPDATE catalog_version
     SET version = version + 1,
         changed_at = CASE WHEN xmin = pg_current_xact_id()::xid THEN changed_at
                           ELSE greatest(date_trunc('second', clock_timestamp()), changed_at + interval '1 second') END;
  RETURN NULL;
END $$;
CREATE TRIGGER package_changes_catalog AFTER INSERT OR UPDATE ON package
  FOR EACH STATEMENT EXECUTE FUNCTION catalog_changed();
