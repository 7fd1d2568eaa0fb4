"""Several tenants in one system."""
