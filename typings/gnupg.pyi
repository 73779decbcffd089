# What rktpy uses of python-gnupg, which ships no types.
class Verify:
    stderr: str

class ImportResult:
    fingerprints: list[str]

class ListKeys:
    data: bytes

class GPG:
    def __init__(self, *, gnupghome: str, options: list[str]) -> None: ...
    def import_keys(self, key_data: bytes) -> ImportResult: ...
    def verify_file(self, fileobj_or_path: str, data_filename: str | None = ..., close_file: bool = ...) -> Verify: ...
    def list_keys(self) -> ListKeys: ...
