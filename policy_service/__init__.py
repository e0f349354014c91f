"""The policy service: stores every tenant's CORS policies and publishes each change."""
