"""Who says so: statements about bytes, signed, and checked by anyone.

Formats are other people's: in-toto Statement v1, SLSA provenance and verification summary, DSSE,
sigstore bundle v0.3, OpenSSF model signing v1, RFC 6962 logs, CycloneDX. Signing and verifying
need `cryptography` and nobody's signing library. What does not hold is `Refused`, under a reason
of its own (`mlgate.provenance.reasons`).
"""
