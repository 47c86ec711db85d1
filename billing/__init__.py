"""What patients are quoted and invoiced: quotes, invoices, their numbers and totals."""
