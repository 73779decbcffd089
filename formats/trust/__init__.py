"""The documents of image trust: policies, requirements, signed claims, envelopes and bundles. Pure models."""
