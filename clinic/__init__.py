"""What the whole clinic stands on: settings, database, people, keys, journal, pages. No medicine, no invoices."""
