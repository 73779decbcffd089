from typing import Any

FileDescriptorProto: Any
FieldDescriptorProto: Any
