"""Pure values of the OCI specifications: digest, reference, platform, descriptor, image."""
