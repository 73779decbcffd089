"""rkt 1.30's API ``v1alpha`` as a table: the same package, names, numbers and types, so that its clients work unchanged.

Source: rkt 1.30 ``api/v1alpha/api.proto``. ``v1alpha.proto`` beside this file says the same to clients in other languages, with
explanations; a test compiles it and compares. From this table :mod:`rktpy.formats.api.messages` makes the classes, so that no
generated code has to be kept (docs/adr/0012).
"""

from __future__ import annotations

PACKAGE = "v1alpha"
FILE = "v1alpha.proto"
SERVICE = "PublicAPI"
#: What GetInfo calls this version of the API.
VERSION = "1.0.0-alpha"

ENUMS: dict[str, tuple[str, ...]] = {
    # A value's number is its place.
    "ImageType": ("IMAGE_TYPE_UNDEFINED", "IMAGE_TYPE_APPC", "IMAGE_TYPE_DOCKER", "IMAGE_TYPE_OCI"),
    "AppState": ("APP_STATE_UNDEFINED", "APP_STATE_RUNNING", "APP_STATE_EXITED"),
    "PodState": (
        "POD_STATE_UNDEFINED",
        "POD_STATE_EMBRYO",
        "POD_STATE_PREPARING",
        "POD_STATE_PREPARED",
        "POD_STATE_RUNNING",
        "POD_STATE_ABORTED_PREPARE",
        "POD_STATE_EXITED",
        "POD_STATE_DELETING",
        "POD_STATE_GARBAGE",
    ),
    "EventType": (
        "EVENT_TYPE_UNDEFINED",
        "EVENT_TYPE_POD_PREPARED",
        "EVENT_TYPE_POD_PREPARE_ABORTED",
        "EVENT_TYPE_POD_STARTED",
        "EVENT_TYPE_POD_EXITED",
        "EVENT_TYPE_POD_GARBAGE_COLLECTED",
        "EVENT_TYPE_APP_STARTED",
        "EVENT_TYPE_APP_EXITED",
        "EVENT_TYPE_IMAGE_IMPORTED",
        "EVENT_TYPE_IMAGE_REMOVED",
    ),
}

#: Each field as ``name type``, or ``name *type`` when it is repeated. A field's number is its place, counted from 1.
MESSAGES: dict[str, tuple[str, ...]] = {
    "ImageFormat": ("type ImageType", "version string"),
    "Image": (
        "base_format ImageFormat",
        "id string",
        "name string",
        "version string",
        "import_timestamp int64",
        "manifest bytes",
        "size int64",
        "annotations *KeyValue",
        "labels *KeyValue",
    ),
    "Network": ("name string", "ipv4 string", "ipv6 string"),
    "App": ("name string", "image Image", "state AppState", "exit_code sint32", "annotations *KeyValue"),
    "Pod": (
        "id string",
        "pid sint32",
        "state PodState",
        "apps *App",
        "networks *Network",
        "manifest bytes",
        "annotations *KeyValue",
        "cgroup string",
        "created_at int64",
        "started_at int64",
        "gc_marked_at int64",
    ),
    "KeyValue": ("Key string", "value string"),
    "PodFilter": (
        "ids *string",
        "states *PodState",
        "app_names *string",
        "image_ids *string",
        "network_names *string",
        "annotations *KeyValue",
        "cgroups *string",
        "pod_sub_cgroups *string",
    ),
    "ImageFilter": (
        "ids *string",
        "prefixes *string",
        "base_names *string",
        "keywords *string",
        "labels *KeyValue",
        "imported_after int64",
        "imported_before int64",
        "annotations *KeyValue",
        "full_names *string",
    ),
    "GlobalFlags": (
        "dir string",
        "system_config_dir string",
        "local_config_dir string",
        "user_config_dir string",
        "insecure_flags string",
        "trust_keys_from_https bool",
    ),
    "Info": ("rkt_version string", "appc_version string", "api_version string", "global_flags GlobalFlags"),
    "Event": ("type EventType", "id string", "from string", "time int64", "data *KeyValue"),
    "EventFilter": ("types *EventType", "ids *string", "names *string", "since_time int64", "until_time int64"),
    "GetInfoRequest": (),
    "GetInfoResponse": ("info Info",),
    "ListPodsRequest": ("filters *PodFilter", "detail bool"),
    "ListPodsResponse": ("pods *Pod",),
    "InspectPodRequest": ("id string",),
    "InspectPodResponse": ("pod Pod",),
    "ListImagesRequest": ("filters *ImageFilter", "detail bool"),
    "ListImagesResponse": ("images *Image",),
    "InspectImageRequest": ("id string",),
    "InspectImageResponse": ("image Image",),
    "ListenEventsRequest": ("filter EventFilter",),
    "ListenEventsResponse": ("events *Event",),
    "GetLogsRequest": (
        "pod_id string",
        "app_name string",
        "lines int32",
        "follow bool",
        "since_time int64",
        "until_time int64",
    ),
    "GetLogsResponse": ("lines *string",),
}

#: The methods, and whether they answer with a stream. Their messages are called ``<method>Request`` and ``<method>Response``.
METHODS: dict[str, bool] = {
    "GetInfo": False,
    "ListPods": False,
    "InspectPod": False,
    "ListImages": False,
    "InspectImage": False,
    "ListenEvents": True,
    "GetLogs": True,
}
