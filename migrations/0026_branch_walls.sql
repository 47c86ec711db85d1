-- clinic: the wall between branches, behind every WHERE: rows of another branch are not there.

-- `clinic.branch` is set on each connection before it is lent: the id of the one branch the caller sees, `*` for all, and
-- nothing for strangers, who then see nothing. It is read once for a statement; the branch of a row is compared by text,
-- since a value that is no id must be a branch nobody has and not an error.
--
-- FORCE: the owner's functions are behind the wall as well; so is the owner, unless he is a superuser. Migrations and
-- whoever looks by hand set `clinic.branch` to `*`.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['quote', 'quote_revision', 'quote_tombstone', 'invoice', 'credit_note', 'act', 'payment',
                              'refund', 'shift', 'number_series'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
    EXECUTE format($policy$
      CREATE POLICY branch_wall ON %I USING (
        (SELECT current_setting('clinic.branch', true)) = '*'
        OR branch_id::text = (SELECT current_setting('clinic.branch', true)))
      $policy$, name);
  END LOOP;
END $$;

-- What is of no branch, such as a price order, is everybody's.
ALTER TABLE journal ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY branch_wall ON journal USING (
  (SELECT current_setting('clinic.branch', true)) = '*'
  OR (branch_id IS NULL AND (SELECT current_setting('clinic.branch', true)) <> '')
  OR branch_id::text = (SELECT current_setting('clinic.branch', true)));

-- An endpoint of no branch is told of all of them, so it is for those who see all of them.
ALTER TABLE webhook ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY branch_wall ON webhook USING (
  (SELECT current_setting('clinic.branch', true)) = '*'
  OR branch_id::text = (SELECT current_setting('clinic.branch', true)));

-- What belongs to a document is seen with it: the document's own wall decides. A document and its parts may be written by
-- one statement, which does not see the document yet; so whose part it is is looked at when the statement is done.
CREATE FUNCTION part_of_a_seen_document() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  hidden boolean;
BEGIN
  EXECUTE format('SELECT EXISTS (SELECT FROM touched WHERE NOT EXISTS (SELECT FROM %I AS document WHERE %s))',
                 TG_ARGV[0], TG_ARGV[1]) INTO hidden;
  IF hidden THEN
    RAISE EXCEPTION 'a row of % belongs to a document of another branch', TG_TABLE_NAME
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NULL;
END $$;

DO $$
DECLARE
  owned record;
BEGIN
  FOR owned IN SELECT * FROM (VALUES
      ('quote_line', 'quote', 'document.id = quote_id'),
      ('quote_link', 'quote', 'document.id = quote_id'),
      ('quote_extension', 'quote', 'document.id = quote_id'),
      ('invoice_line', 'invoice', 'document.id = invoice_id'),
      ('act_line', 'act', 'document.id = act_id'),
      ('credit_note_line', 'credit_note', 'document.id = credit_note_id'),
      ('payment_allocation', 'payment', 'document.id = payment_id'),
      ('webhook_delivery', 'webhook', 'document.id = webhook_id'))
      AS owned (name, document, same) LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', owned.name);
    EXECUTE format($policy$
      CREATE POLICY branch_wall ON %I USING (
        (SELECT current_setting('clinic.branch', true)) = '*' OR EXISTS (SELECT FROM %I AS document WHERE %s))
        WITH CHECK (true)
      $policy$, owned.name, owned.document, owned.same);
    EXECUTE format($trigger$
      CREATE TRIGGER branch_wall AFTER INSERT ON %I REFERENCING NEW TABLE AS touched FOR EACH STATEMENT
        WHEN (current_setting('clinic.branch', true) IS DISTINCT FROM '*')
        EXECUTE FUNCTION part_of_a_seen_document(%L, %L)
      $trigger$, owned.name, owned.document, owned.same);
  END LOOP;
END $$;
-- An approval is written when its document is there already.
ALTER TABLE discount_approval ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY branch_wall ON discount_approval USING (
  (SELECT current_setting('clinic.branch', true)) = '*'
  OR EXISTS (SELECT FROM quote WHERE quote.id = quote_id)
  OR EXISTS (SELECT FROM invoice WHERE invoice.id = invoice_id));

-- A reference is one payment in the whole clinic, so it is looked for over the walls: of a payment of another branch the
-- caller is told that there is one, and nothing of it.
CREATE FUNCTION payments_of_references(sources text[], refs text[])
RETURNS TABLE (id uuid, branch_id uuid, split_id uuid, asked_sha256 bytea, source text, external_ref text)
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
  seen text := coalesce(current_setting('clinic.branch', true), '');
BEGIN
  PERFORM set_config('clinic.branch', '*', true);
  RETURN QUERY
    SELECT id, branch_id, split_id, asked_sha256, source, external_ref
      FROM payment
     WHERE (source, external_ref) IN (SELECT told.source, told.ref FROM unnest(sources, refs) AS told (source, ref));
  PERFORM set_config('clinic.branch', seen, true);
END $$;
