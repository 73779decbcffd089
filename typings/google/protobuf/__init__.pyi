# What rktpy uses of protobuf. Messages are made at run time, so there is nothing to say of their members.
