-- billing: lists of a payer or patient by their state, and of what is rare, read the rows they show and no others.

-- Agreed and not invoiced yet: a handful among a million that are.
CREATE INDEX quote_revision_agreed ON quote_revision (date DESC, quote_id DESC)
  WHERE newest AND status = 'accepted' AND NOT invoiced;
CREATE INDEX quote_revision_patient_status ON quote_revision (patient_ref, status, invoiced, date DESC, quote_id DESC)
  WHERE newest AND patient_ref IS NOT NULL;

-- What an insurer still owes among all it has paid. In the order of the list, it serves the allocation of money too.
DROP INDEX invoice_owed_by_payer;
CREATE INDEX invoice_owed_payer ON invoice (payer_ref, date DESC, id DESC)
  WHERE status = 'issued' AND paid + credited < total;
CREATE INDEX invoice_owed_patient ON invoice (patient_ref, date DESC, id DESC)
  WHERE status = 'issued' AND paid + credited < total AND patient_ref IS NOT NULL;

CREATE INDEX invoice_settled ON invoice (date DESC, id DESC)
  WHERE number IS NOT NULL AND paid + credited >= total AND credited > 0 AND credited >= paid;
CREATE INDEX invoice_settled_payer ON invoice (payer_ref, date DESC, id DESC)
  WHERE number IS NOT NULL AND paid + credited >= total AND credited > 0 AND credited >= paid;
CREATE INDEX invoice_settled_patient ON invoice (patient_ref, date DESC, id DESC)
  WHERE number IS NOT NULL AND paid + credited >= total AND credited > 0 AND credited >= paid
    AND patient_ref IS NOT NULL;

CREATE INDEX payment_payer_tender ON payment (payer_ref, tender, received_on DESC, id DESC);
