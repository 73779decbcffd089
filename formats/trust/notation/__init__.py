"""The documents of the Notary Project: signature envelopes, payloads and trust policies. Pure models."""
