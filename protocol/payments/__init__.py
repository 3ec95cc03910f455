"""Invoices, payments received and payments sent: what is owed, claimed, and known to be done."""
