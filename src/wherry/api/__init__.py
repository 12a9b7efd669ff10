"""The HTTP face: a route parses, calls one service method and renders."""
