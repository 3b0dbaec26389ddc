-- Times are Unix milliseconds.

-- Who may call. A deleted key stays, without its secrets, because records of its calls name it.
CREATE TABLE featherwire_keys (
    id BLOB PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    -- A JSON object of texts.
    labels TEXT NOT NULL,
    -- inference, admin or viewer
    role TEXT NOT NULL,
    -- A JSON object, as src/keys/limits.rs describes it.
    limits TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    disabled_at INTEGER,
    revoked_at INTEGER,
    -- When the running calls of a revoked key were ended.
    calls_cut_at INTEGER,
    deleted_at INTEGER,
    last_used_at INTEGER,
    -- The version of the keys at the last change of this one.
    version INTEGER NOT NULL
) STRICT;

CREATE INDEX featherwire_keys_by_version ON featherwire_keys (version);

-- What a caller shows. Several secrets of one key are valid during a rotation.
CREATE TABLE featherwire_secrets (
    -- The readable part of the secret, with which people recognise it.
    public_id TEXT PRIMARY KEY NOT NULL,
    key_id BLOB NOT NULL REFERENCES featherwire_keys (id),
    -- SHA-256 of the whole secret.
    digest BLOB NOT NULL UNIQUE,
    last_four TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    -- When a rotation or a revocation ends it.
    ends_at INTEGER
) STRICT;

CREATE INDEX featherwire_secrets_of_key ON featherwire_secrets (key_id);

-- What was changed by whom.
CREATE TABLE featherwire_audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    key_id BLOB,
    -- A JSON object.
    detail TEXT NOT NULL
) STRICT;

-- Each change of what gateways keep in memory raises a number, by which they notice it.
CREATE TABLE featherwire_versions (
    name TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL
) STRICT;

INSERT INTO featherwire_versions (name, version) VALUES ('keys', 1);
