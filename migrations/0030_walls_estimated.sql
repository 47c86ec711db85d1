-- clinic: the wall between branches is weighed by the planner as half of the rows, not as next to none.

-- Of «x = '*' OR …», where x is known only when the statement runs, the planner expects one row in two hundred, and reads
-- a list of a hundred thousand quotes whole to sort the few it expects. A CASE is weighed as one half, and asks for the
-- document of a part only where the caller is kept to one branch.
DO $$
DECLARE
  walled record;
  own constant text := $own$branch_id::text = (SELECT current_setting('clinic.branch', true))$own$;
BEGIN
  FOR walled IN SELECT * FROM (VALUES
      ('quote', own), ('quote_revision', own), ('quote_tombstone', own), ('invoice', own), ('credit_note', own),
      ('act', own), ('payment', own), ('refund', own), ('shift', own), ('number_series', own), ('webhook', own),
      ('journal', own || $none$ OR branch_id IS NULL AND (SELECT current_setting('clinic.branch', true)) <> ''$none$),
      ('quote_line', 'EXISTS (SELECT FROM quote AS document WHERE document.id = quote_id)'),
      ('quote_link', 'EXISTS (SELECT FROM quote AS document WHERE document.id = quote_id)'),
      ('quote_extension', 'EXISTS (SELECT FROM quote AS document WHERE document.id = quote_id)'),
      ('invoice_line', 'EXISTS (SELECT FROM invoice AS document WHERE document.id = invoice_id)'),
      ('act_line', 'EXISTS (SELECT FROM act AS document WHERE document.id = act_id)'),
      ('credit_note_line', 'EXISTS (SELECT FROM credit_note AS document WHERE document.id = credit_note_id)'),
      ('payment_allocation', 'EXISTS (SELECT FROM payment AS document WHERE document.id = payment_id)'),
      ('webhook_delivery', 'EXISTS (SELECT FROM webhook AS document WHERE document.id = webhook_id)'),
      ('discount_approval', 'EXISTS (SELECT FROM quote AS document WHERE document.id = quote_id)
                             OR EXISTS (SELECT FROM invoice AS document WHERE document.id = invoice_id)'))
      AS walled (name, seen) LOOP
    EXECUTE format($policy$
      ALTER POLICY branch_wall ON %I USING (
        CASE (SELECT current_setting('clinic.branch', true)) WHEN '*' THEN true ELSE %s END)
      $policy$, walled.name, walled.seen);
  END LOOP;
END $$;
