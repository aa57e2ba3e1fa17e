"""The person's own days as datasets: what each is made from, how it is computed, how it is written. No dagster here."""
