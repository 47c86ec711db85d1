-- catalog: a package made by mistake is taken back on its first day at the latest, so that a right one can follow at once.

-- What it sold until then stays sold, and its row stays to be read.
ALTER TABLE package
  ADD COLUMN withdrawn boolean NOT NULL DEFAULT false,
  DROP CONSTRAINT package_no_overlap,
  ADD CONSTRAINT package_no_overlap EXCLUDE USING gist (code WITH =, price_list WITH =, valid WITH &&)
    WHERE (NOT withdrawn);
GRANT UPDATE (withdrawn) ON package TO clinic_app;
CREATE TRIGGER package_stays_withdrawn BEFORE UPDATE ON package FOR EACH ROW
  WHEN (OLD.withdrawn AND NOT NEW.withdrawn) EXECUTE FUNCTION package_stays();
