-- billing: a draft invoice may be priced by another price list.

-- Of drafts only: keep_frozen sees to that, and invoice_payer_of_list to the payer.
GRANT UPDATE (price_list) ON invoice TO clinic_app;
