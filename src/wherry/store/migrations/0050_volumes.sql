CREATE TABLE volumes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    driver TEXT NOT NULL,
    options TEXT NOT NULL,
    labels TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    size_limit INTEGER NOT NULL DEFAULT 0,
    backing TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL DEFAULT 'ready'
);
CREATE TABLE volume_uses (
    volume_id TEXT NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    container_id TEXT NOT NULL,
    anonymous INTEGER NOT NULL,
    PRIMARY KEY (volume_id, container_id)
) WITHOUT ROWID;
CREATE INDEX volume_uses_by_container ON volume_uses (container_id);
CREATE TABLE volume_mounts (
    volume_id TEXT NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
    holder TEXT NOT NULL,
    PRIMARY KEY (volume_id, holder)
) WITHOUT ROWID;
