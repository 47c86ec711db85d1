-- billing: lists of one branch, which may have few documents among a million of others.
CREATE INDEX invoice_branch ON invoice (branch_id, date DESC, id DESC);
CREATE INDEX quote_revision_branch ON quote_revision (branch_id, date DESC, quote_id DESC) WHERE newest;
CREATE INDEX act_branch ON act (branch_id, date DESC, id DESC);
