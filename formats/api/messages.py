"""The classes of the messages, made by protobuf from the table in :mod:`rktpy.formats.api.v1alpha`.

They live in a descriptor pool of their own: a program that has rkt's own generated module can load both.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from rktpy.formats.api.v1alpha import ENUMS, FILE, MESSAGES, METHODS, PACKAGE, SERVICE

_FIELD: Any = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "sint32": _FIELD.TYPE_SINT32,
    "string": _FIELD.TYPE_STRING,
}


def file_descriptor() -> Any:
    """The ``FileDescriptorProto`` of the whole API."""
    file: Any = descriptor_pb2.FileDescriptorProto(name=FILE, package=PACKAGE, syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, text in enumerate(fields, 1):
            field_name, kind = text.split()
            field = message.field.add(name=field_name, number=number)
            field.label = _FIELD.LABEL_REPEATED if kind[0] == "*" else _FIELD.LABEL_OPTIONAL
            kind = kind.lstrip("*")
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = _FIELD.TYPE_ENUM if kind in ENUMS else _FIELD.TYPE_MESSAGE
                field.type_name = f".{PACKAGE}.{kind}"
    service = file.service.add(name=SERVICE)
    for name, streams in METHODS.items():
        method = service.method.add(name=name)
        method.input_type, method.output_type = f".{PACKAGE}.{name}Request", f".{PACKAGE}.{name}Response"
        if streams:
            method.server_streaming = True
        # An empty body in braces in the .proto.
        method.options.SetInParent()
    return file


def _classes() -> dict[str, Any]:
    pool: Any = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file_descriptor().SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES}


#: Every message class by its name.
CLASSES = _classes()

App = CLASSES["App"]
GetInfoResponse = CLASSES["GetInfoResponse"]
GetLogsResponse = CLASSES["GetLogsResponse"]
GlobalFlags = CLASSES["GlobalFlags"]
Image = CLASSES["Image"]
ImageFormat = CLASSES["ImageFormat"]
Info = CLASSES["Info"]
InspectImageResponse = CLASSES["InspectImageResponse"]
InspectPodResponse = CLASSES["InspectPodResponse"]
KeyValue = CLASSES["KeyValue"]
ListImagesResponse = CLASSES["ListImagesResponse"]
ListPodsResponse = CLASSES["ListPodsResponse"]
Network = CLASSES["Network"]
Pod = CLASSES["Pod"]


def enum_value(name: str) -> int:
    """The number of an enum's value, by its name."""
    for values in ENUMS.values():
        if name in values:
            return values.index(name)
    raise KeyError(name)
