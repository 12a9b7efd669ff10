-- Names: canonical text with a tag or a digest, and what they point to (manifest or index).
CREATE TABLE image_references (
    name TEXT PRIMARY KEY,
    target TEXT NOT NULL,
    tagged INTEGER NOT NULL            -- nanoseconds since 1970
);
CREATE INDEX image_references_target ON image_references (target);

-- Roots that are kept until removed, named or not.
CREATE TABLE image_targets (
    digest TEXT PRIMARY KEY,
    media_type TEXT NOT NULL,
    added INTEGER NOT NULL,
    hidden INTEGER NOT NULL DEFAULT 0  -- removed by force, kept for the containers made from it
);

-- The complete images that a root leads to, in its order.
CREATE TABLE image_manifests (
    target TEXT NOT NULL REFERENCES image_targets (digest) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    position INTEGER NOT NULL,
    image_id TEXT NOT NULL,            -- digest of the configuration
    os TEXT NOT NULL,
    architecture TEXT NOT NULL,
    variant TEXT NOT NULL,
    PRIMARY KEY (target, digest)
);
CREATE INDEX image_manifests_image ON image_manifests (image_id);

-- What an image was committed or built from on this machine, and when it was last tagged.
CREATE TABLE image_notes (
    image_id TEXT PRIMARY KEY,
    parent TEXT NOT NULL DEFAULT '',
    tagged INTEGER NOT NULL DEFAULT 0
);

-- Layers that are usable.
CREATE TABLE image_layers (
    diff_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,                -- layer store back end
    size INTEGER NOT NULL,             -- bytes of its regular files
    added INTEGER NOT NULL
);

-- Content in blobs/; diff_id is what a compressed layer inflates to, when that is known.
CREATE TABLE image_blobs (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    diff_id TEXT NOT NULL DEFAULT ''
);
