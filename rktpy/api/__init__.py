"""The API service: rkt's gRPC API ``v1alpha``, read-only (rkt 1.30 ``rkt/api_service.go``). Needs the extra ``api``."""
