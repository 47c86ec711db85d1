-- billing: persons are forgotten once no law keeps their documents; until then a request to be forgotten waits.

-- A person asked to be forgotten. `ref` is the caller's opaque identifier.
CREATE TABLE erasure_request (
  id uuid PRIMARY KEY,
  ref text NOT NULL CHECK (ref ~ '^[A-Za-z0-9._:-]{1,64}$'),
  requested_at timestamptz NOT NULL,
  requested_by text NOT NULL,
  -- The last day on which some document of this person must be kept as it is.
  hold_until date NOT NULL,
  done_at timestamptz
);
CREATE UNIQUE INDEX erasure_request_waits ON erasure_request (ref) WHERE done_at IS NULL;
CREATE FUNCTION erasure_request_ends_once() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF OLD.done_at IS NOT NULL OR to_jsonb(OLD) - '{hold_until,done_at}'::text[] <> to_jsonb(NEW) - '{hold_until,done_at}'::text[]
     OR NEW.hold_until < OLD.hold_until THEN
    RAISE EXCEPTION 'a request to be forgotten only ends, once' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER erasure_request_ends_once BEFORE UPDATE ON erasure_request
  FOR EACH ROW EXECUTE FUNCTION erasure_request_ends_once();
CREATE TRIGGER erasure_request_kept BEFORE DELETE OR TRUNCATE ON erasure_request
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON erasure_request TO clinic_app;
GRANT UPDATE (hold_until, done_at) ON erasure_request TO clinic_app;

-- The newest day of what the law keeps under this name: invoices with what hangs on them, payments, accepted quotes.
-- A draft invoice is still being worked on and counts too. NULL: nothing does.
-- Documents are found by the reference, which has indexes; a party's row has one reference.
CREATE FUNCTION party_kept_since(person party) RETURNS date LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  WITH kept AS (
    SELECT id, date FROM invoice WHERE payer_ref = person.ref AND payer_party = person.id AND status <> 'discarded'
     UNION
    SELECT id, date FROM invoice WHERE patient_ref = person.ref AND patient_party = person.id AND status <> 'discarded')
  SELECT max(day) FROM (
    SELECT date AS day FROM kept
     UNION ALL
    SELECT credit_note.date FROM kept JOIN credit_note ON credit_note.invoice_id = kept.id
     UNION ALL
    SELECT act.date FROM kept JOIN act ON act.invoice_id = kept.id
     UNION ALL
    SELECT received_on
      FROM kept JOIN payment_allocation AS part ON part.invoice_id = kept.id JOIN payment ON payment.id = part.payment_id
     UNION ALL
    SELECT greatest(received_on, (SELECT max(refunded_on) FROM refund WHERE payment_id = payment.id))
      FROM payment WHERE payer_ref = person.ref AND payer_party = person.id
     UNION ALL
    SELECT date FROM quote_revision
     WHERE newest AND patient_ref = person.ref AND patient_party = person.id AND status = 'accepted') AS document
$$;

-- Five years after the year of the last document (Federal law 402-FZ, article 29), or more where the clinic says so.
CREATE FUNCTION party_kept_until(person party, years integer) RETURNS date LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT make_date(extract(year FROM party_kept_since(person))::integer + greatest(years, 5), 12, 31)
$$;

-- The owner's, and the only way to change a person's row: names go, the digest stays, so that documents stay checkable.
-- Without the salt nobody can try names against it. What must be kept is passed over, whoever asks.
CREATE FUNCTION party_forget(persons uuid[], today date, years integer) RETURNS TABLE (forgotten uuid)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE party
     SET name = CASE WHEN name IS NOT NULL THEN 'удалено' END, phone = NULL, email = NULL, salt = NULL,
         erased_at = now()
   WHERE id = ANY (persons) AND erased_at IS NULL
     AND (party_kept_since(party) IS NULL OR party_kept_until(party, years) < today)
  RETURNING id
$$;
REVOKE EXECUTE ON FUNCTION party_forget FROM PUBLIC;
GRANT EXECUTE ON FUNCTION party_forget TO clinic_app;

-- Nobody else changes who a document names; the owner's hand neither, but for the words above.
CREATE FUNCTION party_only_forgets() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF OLD.erased_at IS NOT NULL OR NEW.erased_at IS NULL OR (NEW.id, NEW.ref, NEW.digest) <> (OLD.id, OLD.ref, OLD.digest)
     OR num_nonnulls(NEW.phone, NEW.email, NEW.salt) > 0 OR NEW.name <> 'удалено' THEN
    RAISE EXCEPTION 'a person is only forgotten, and once' USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER party_only_forgets BEFORE UPDATE ON party FOR EACH ROW EXECUTE FUNCTION party_only_forgets();
