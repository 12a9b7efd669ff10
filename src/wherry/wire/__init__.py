"""Pure: the Engine API's JSON as typed structs, stream framing, filters, templates, progress."""
