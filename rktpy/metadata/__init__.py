"""The appc metadata service: apps ask it about their pod and prove to each other which pod they belong to.

Source: appc/spec 0.8.11 ``spec/ace.md`` (App Container Metadata Service), rkt 1.30 ``rkt/metadata_service.go``.
"""
