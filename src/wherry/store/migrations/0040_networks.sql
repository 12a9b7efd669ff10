-- Networks, and what the networks know of containers. `body` is JSON of wherry.networks.values.

CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL
);

-- One row a container, from its creation to its removal.
CREATE TABLE sandboxes (
    container_id TEXT PRIMARY KEY,
    body BLOB NOT NULL
);

-- One row for each network of a running container. The unique indexes are the last word on an
-- address being handed out once.
CREATE TABLE endpoints (
    id TEXT PRIMARY KEY,
    network_id TEXT NOT NULL REFERENCES networks (id),
    container_id TEXT NOT NULL,
    ipv4 TEXT,
    ipv6 TEXT,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX endpoints_ipv4 ON endpoints (network_id, ipv4);
CREATE UNIQUE INDEX endpoints_ipv6 ON endpoints (network_id, ipv6);
CREATE INDEX endpoints_container ON endpoints (container_id);
