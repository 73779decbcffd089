from typing import Any

DescriptorPool: Any
