"""Network drivers, IPAM, endpoints, port publishing, firewall, names."""
